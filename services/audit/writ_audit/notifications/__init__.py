"""Notifications of what people should know at once: by webhook or ntfy, after it is on record. They decide nothing."""

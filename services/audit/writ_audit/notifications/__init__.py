"""Notifications of urgent events to people: by webhook or ntfy, after the event is on record. They decide nothing."""

"""Checks of container settings before an engine gets them: access to the host, and bounds of lists."""

"""The port of backends, and code shared by several backends."""

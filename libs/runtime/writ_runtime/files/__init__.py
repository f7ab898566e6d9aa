"""Files of a service: read again when they change, or kept so that a restart forgets nothing."""

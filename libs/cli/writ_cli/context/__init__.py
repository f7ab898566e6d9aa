"""The principal, key and address of a command: options, environment, contexts and sessions."""

"""The policy format and its semantics. The policy service and the `writ policy` commands use this one engine."""

"""The policy format and its semantics: the one engine behind the policy service and the `writ policy` commands."""

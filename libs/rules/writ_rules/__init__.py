"""The policy format and what it means: the one engine behind the policy service and the `writ policy` commands."""

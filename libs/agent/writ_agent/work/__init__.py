"""The work of an agent: claim, run, recover, cancel."""

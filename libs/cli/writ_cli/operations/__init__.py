"""Commands about operations: run, simulate, follow, search, and how targets are reached."""

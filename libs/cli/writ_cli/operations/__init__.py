"""Commands about operations: run, simulate, follow, search, and tests of targets."""

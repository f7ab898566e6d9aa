"""The policy file: its keys, its times and windows, its groups, and the findings in it."""

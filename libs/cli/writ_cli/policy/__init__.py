"""`writ policy`: what a policy says, tested, explained and changed. Alone here the rules are loaded by the command."""

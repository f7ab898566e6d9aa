"""Rules, compiled from the entries of a policy file, and the lint of single entries."""

"""Commands for targets: add, show, set, rename, test and remove."""

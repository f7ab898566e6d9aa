"""The keys, accounts, tokens and markers of one installation, and how hosts join it."""

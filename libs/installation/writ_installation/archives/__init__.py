"""Archives of the journal and backups of a whole installation."""

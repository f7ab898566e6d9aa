"""Commands for archives of the journal, and for backups of an installation."""

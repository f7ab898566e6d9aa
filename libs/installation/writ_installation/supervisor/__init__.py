"""`writ up`: starts the processes of an installation, restarts them, and stops them in order."""

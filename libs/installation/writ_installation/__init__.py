"""`writ up`: one machine's Writ, from an empty folder to running processes, and back to nothing."""

"""Commands for stops, emergencies, windows and sessions."""

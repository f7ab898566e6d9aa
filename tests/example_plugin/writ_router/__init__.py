"""The backend router for Writ."""

"""People: their credentials, their sessions, their approvals and the previews that they approve."""

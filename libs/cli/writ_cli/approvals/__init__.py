"""`writ approvals`: requests waiting for people, and their verdicts."""

"""`writ approvals`: the requests that wait for a person, and their verdict."""

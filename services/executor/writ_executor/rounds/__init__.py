"""The steps after a request, and the rounds over overdue operations."""

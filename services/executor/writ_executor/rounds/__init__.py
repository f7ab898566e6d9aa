"""What drives accepted operations on: after their request, and in rounds over everything overdue."""

"""Approval windows: whose approvals count for an operation, and the exact count of their uses."""

"""Approval windows: they replace the approvals of single operations, and their uses are counted exactly."""

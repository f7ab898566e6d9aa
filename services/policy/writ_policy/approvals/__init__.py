"""Approvals: verify and record them, and serve approvers' queries."""

"""Approvals: their verification, their record, and approvers' queries."""

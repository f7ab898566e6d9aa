"""Approvals: their verification, their record, and what approvers ask."""

"""The policy service: it makes decisions, and signs decisions and grants. Its engine (`writ_rules`) is plain functions
without I/O.
"""

"""The common part of all agents: pull, claim, verify, run, receipt, spool. No host is touched without a verified
grant.
"""

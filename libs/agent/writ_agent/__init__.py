"""What every agent shares: pull, claim, verify, run, receipt, spool. No host is touched without a verified grant."""

"""What every agent shares: pull, claim, verify, run, receipt, spool. There is no way to a host here without a verified grant."""

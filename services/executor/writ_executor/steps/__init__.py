"""The steps of an operation: dispatch, claim, receipt, end, and reads of a host."""

"""Commands that read the record: trace and search."""

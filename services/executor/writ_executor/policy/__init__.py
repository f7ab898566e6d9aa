"""The client of the policy service, and the listings needed by its decisions."""

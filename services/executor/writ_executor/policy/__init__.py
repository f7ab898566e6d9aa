"""The client of the policy service, and the listings that its decisions need."""

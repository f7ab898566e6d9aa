"""Calls to the policy service, and the listings that its decisions need."""

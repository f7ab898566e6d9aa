"""Queries to policy, the versions of the policy, and what it decides by besides the request."""

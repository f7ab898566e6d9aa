"""Versions of the policy: stored, proven, and proposed."""

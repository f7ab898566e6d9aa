"""Versions of the policy: store, verify and propose them."""

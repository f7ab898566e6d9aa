"""A separate process for slow queries, so that decisions do not wait for them."""

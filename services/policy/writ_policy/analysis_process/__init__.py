"""A process beside the policy service for questions that take long: decisions must not wait for them."""

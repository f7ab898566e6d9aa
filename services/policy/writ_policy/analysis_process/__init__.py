"""A process beside the policy service for slow questions: decisions must not wait for them."""

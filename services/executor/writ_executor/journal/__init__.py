"""The journal of an executor: index, follower, recorder, lookups and hidden values."""

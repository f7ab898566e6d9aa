"""Changes the owner of an installation makes in its files: principals and targets."""

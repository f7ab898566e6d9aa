"""A running installation observed and controlled from outside."""

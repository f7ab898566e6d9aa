"""The commands `writ plugin`."""

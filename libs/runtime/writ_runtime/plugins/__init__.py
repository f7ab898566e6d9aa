"""Installed plugins: their descriptors and digests are checked before anything of them is used."""

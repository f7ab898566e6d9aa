"""Documents that people write: YAML with positions, shape checks, atomic files, readers of an installation's lists."""

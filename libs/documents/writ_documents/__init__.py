"""Documents that people write: YAML with positions, shape checks, atomic files, and readers of the installation's lists."""

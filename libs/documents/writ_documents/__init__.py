"""Documents written by people: YAML with positions, shape checks, atomic files, readers of an installation's lists."""

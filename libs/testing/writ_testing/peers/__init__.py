"""Programs of other projects, started for real."""

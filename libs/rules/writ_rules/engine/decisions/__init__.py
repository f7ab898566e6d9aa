"""From matching rules to a ruling: its reason, its trace, and the reach of a principal's rules."""

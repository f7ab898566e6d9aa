"""One authenticated SSH connection: the target's keys, its algorithms, and the programs that run over it."""

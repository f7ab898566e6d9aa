"""Archives of the journal: written, verified with policy's public key alone, and read."""

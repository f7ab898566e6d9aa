"""Archives of the journal: made, checked by whoever has policy's public key, and read."""

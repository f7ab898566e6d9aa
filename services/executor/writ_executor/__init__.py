"""The executor: drives each operation through its life, and alone writes the journal."""

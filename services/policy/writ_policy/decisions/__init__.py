"""Make and sign decisions, grants and read grants."""

"""The policy service: decides, and signs decisions and grants. Its engine is plain functions without I/O."""

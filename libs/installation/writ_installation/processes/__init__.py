"""The processes of an installation: their command lines, supervision of one, readiness, and the run file."""

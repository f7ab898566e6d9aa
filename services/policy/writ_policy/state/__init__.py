"""The inputs of decisions: files, control events, scanner reports."""

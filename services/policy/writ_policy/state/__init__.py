"""The inputs of decisions: files, control events and scanner reports."""

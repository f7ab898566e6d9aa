"""The state that decisions are made on: files, control events, scanner reports."""

"""The port of backends, and what several backends share."""

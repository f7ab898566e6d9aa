"""The version of Writ: one for all distributions."""

VERSION = "0.1.0"
LEVEL = 3
"""The level of messages that this release reads. A release that adds an event, a word of an extensible list, or a field
to something that refuses unknown fields, raises it; only the release after that writes them. 0 did not name a level.
Where a writer finds out in another way what its readers read, as for attached texts of outputs, it stays the same.
"""

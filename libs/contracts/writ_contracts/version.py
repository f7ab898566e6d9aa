"""The version of Writ: one for all that is shipped."""

VERSION = "0.1.0"

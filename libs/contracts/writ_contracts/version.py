"""The version of Writ: one for all distributions."""

VERSION = "0.1.0"

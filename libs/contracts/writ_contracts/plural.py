"""Counts in texts for people."""


def plural(number: int, noun: str, nouns: str = "") -> str:
    """Return the number with its noun: "1 event", "2 events". `nouns`: a plural that is not the noun with an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {nouns or f'{noun}s'}"

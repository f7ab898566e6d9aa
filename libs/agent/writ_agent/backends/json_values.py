"""A bound of the values in a reply of JSON. Pure.

A value takes two bytes in JSON and 60 to 200 in memory, and while it is decoded no other task of the process runs: 8 MB
of empty lists took 180 MB and 1.5 s. An agent has many targets, so one of them must not cost the others that.
"""

MOST_VALUES = 500_000
"""A list of 4,000 containers or guests has fewer. So many take up to 50 MB and 0.1 s."""
_BEFORE_VALUES = (b",", b"[", b"{")


def has_too_many_values(data: bytes | bytearray) -> bool:
    """Return whether JSON of these bytes may have more than MOST_VALUES values, or as many strings and keys. What looks
    like a value within a string does not count.
    """
    if _counted(data) <= MOST_VALUES:
        return False
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")  # no quote is left within a string
    if plain.count(b'"') > 2 * MOST_VALUES:
        return True
    return _counted(b"".join(plain.split(b'"')[::2])) > MOST_VALUES


def _counted(data: bytes | bytearray) -> int:
    return sum(map(data.count, _BEFORE_VALUES))

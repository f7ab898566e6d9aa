"""A bound of the values in JSON, before it is decoded. Pure.

A value takes two bytes in JSON and 60 to 200 in memory, and while it is decoded no other task of the process runs: 8 MB
of empty lists took 180 MB and 1.5 s. Text costs no more than its bytes, so what looks like a value within a string does
not count.
"""

MOST_REPLIED = 500_000
"""In a reply of an engine or of Proxmox. A list of 4,000 containers or guests has fewer. So many take up to 50 MB, and
0.1 s in which an agent's other targets wait.
"""
_BEFORE_VALUES = (b",", b"[", b"{")


def may_exceed(data: bytes | bytearray, most: int) -> bool:
    """Return whether JSON of these bytes may have more than `most` values, or as many strings and keys."""
    if _counted(data) <= most:
        return False
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")  # no quote is left within a string
    if plain.count(b'"') > 2 * most:
        return True
    return _counted(b"".join(plain.split(b'"')[::2])) > most


def _counted(data: bytes | bytearray) -> int:
    return sum(map(data.count, _BEFORE_VALUES))

"""Events of the journal as they are stored, with the position, time and headers the server gave them."""

from collections.abc import Mapping

from msgspec import Struct


class Record(Struct, frozen=True):
    """One event of the journal, as stored."""

    sequence: int
    subject: str
    data: bytes
    headers: Mapping[str, str]
    time: float

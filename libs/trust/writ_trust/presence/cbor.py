"""CBOR as authenticators write it (CTAP 2.1, §8: RFC 8949 without floats, tags and indefinite lengths).

Attestation objects come from strangers: depth and lengths are bounded by the input, and each value has one form.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from writ_contracts.errors import Untrusted

MOST_DEPTH: Final = 4
"""Nested containers of an attestation object: the object, its statement, the list of certificates."""
SIMPLE: Final = MappingProxyType({20: False, 21: True, 22: None})
LENGTHS: Final = MappingProxyType({24: 1, 25: 2, 26: 4, 27: 8})


def read(data: bytes) -> Any:
    """Return the one value encoded by exactly these bytes. Raises Untrusted."""
    value, rest = read_first(data)
    if rest:
        raise Untrusted(f"{len(rest)} bytes follow the CBOR value")
    return value


def read_first(data: bytes) -> tuple[Any, bytes]:
    """Return the first value and the bytes behind it. Raises Untrusted."""
    decoder = _Decoder(data)
    return decoder.value(MOST_DEPTH), data[decoder.position :]


class _Decoder:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0
        self._majors: Mapping[int, Callable[[int, int], Any]] = {
            0: lambda number, _: number,
            1: lambda number, _: -1 - number,
            2: lambda number, _: self._take(number),
            3: lambda number, _: self._text(number),
            4: self._list,
            5: self._map,
            7: self._simple,
        }

    def value(self, depth: int) -> Any:
        if depth == 0:
            raise Untrusted(f"the CBOR value is nested more than {MOST_DEPTH} deep")
        first = self._take(1)[0]
        major, info = first >> 5, first & 0x1F
        if major not in self._majors or (major == 7 and info not in SIMPLE):
            raise Untrusted(f"CBOR of type {major}, {info} has no place in an attestation")
        return self._majors[major](self._number(info), depth)

    def _number(self, info: int) -> int:
        if info < 24:
            return info
        if info not in LENGTHS:
            raise Untrusted("the CBOR value has an indefinite or reserved length")
        number = int.from_bytes(self._take(LENGTHS[info]), "big")
        if number < (24 if info == 24 else 1 << (4 * LENGTHS[info])):
            raise Untrusted("a CBOR number is not in its shortest form")
        return number

    def _take(self, count: int) -> bytes:
        taken = self._data[self.position : self.position + count]
        if len(taken) < count:
            raise Untrusted("the CBOR value ends too early")
        self.position += count
        return taken

    def _text(self, count: int) -> str:
        try:
            return self._take(count).decode()
        except UnicodeDecodeError as error:
            raise Untrusted("a CBOR text is not UTF-8") from error

    def _list(self, count: int, depth: int) -> list[Any]:
        return [self.value(depth - 1) for _ in range(count)]

    def _map(self, count: int, depth: int) -> dict[int | str, Any]:
        found: dict[int | str, Any] = {}
        for _ in range(count):
            key = self.value(depth - 1)
            if not isinstance(key, int | str) or isinstance(key, bool) or key in found:
                raise Untrusted("a CBOR map has a key twice, or one that is neither number nor text")
            found[key] = self.value(depth - 1)
        return found

    @staticmethod
    def _simple(number: int, _: int) -> bool | None:
        return SIMPLE[number]

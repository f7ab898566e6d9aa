"""Take typed values out of JSON objects. Fields that nobody took are unknown and refused. Messages name fields, not
values.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Union

from writ_hostops.encoded_text import EncodedText
from writ_hostops.errors import HostError


class Fields:
    """The fields of one JSON object. Each is taken once, by its type; `end()` refuses the rest."""

    def __init__(self, raw: object, where: str) -> None:
        if not isinstance(raw, dict):
            raise HostError("invalid_parameter", f"{where} must be an object")
        self._left: Dict[str, Any] = dict(raw)
        self._where = where

    def text(self, name: str, default: Optional[str] = None) -> str:
        """Take a string; required without a default."""
        return self._text(name, self._take(name, default))

    def long_text(self, name: str) -> Union[str, EncodedText]:
        """Take a string that may be encoded; required."""
        value = self._take(name, None)
        return value if isinstance(value, EncodedText) else self._text(name, value)

    def choice(self, name: str, allowed: Sequence[str], default: Optional[str] = None) -> str:
        """Take one of these strings."""
        value = self.text(name, default)
        if value not in allowed:
            raise self.wrong(name, f"must be one of {', '.join(allowed)}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Take true or false; numbers are refused."""
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "must be true or false")
        return value

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Take a whole number from low to high; a bool is refused."""
        value = self._take(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(name, f"must be a whole number from {low} to {high}")
        return value

    def number(self, name: str, default: float, high: float) -> float:
        """Take a number above 0 and at most high."""
        value = self._take(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= high:
            raise self.wrong(name, f"must be a number above 0 and at most {high:g}")
        return float(value)

    def items(self, name: str) -> List[Any]:
        """Take a list of any values; empty if absent."""
        value = self._take(name, [])
        if not isinstance(value, list):
            raise self.wrong(name, "must be a list")
        return value

    def optional_items(self, name: str) -> Optional[List[Any]]:
        """Take a list of any values; None if absent."""
        is_given = self._left.get(name) is not None
        items = self.items(name)
        return items if is_given else None

    def mapping(self, name: str) -> Dict[str, Any]:
        """Take an object of any values; empty if absent."""
        value = self._take(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, "must be an object")
        return value

    def end(self) -> None:
        """Refuse all fields that were not taken."""
        if self._left:
            unknown = ", ".join(sorted(ascii(name)[:40] for name in self._left))
            raise HostError("invalid_parameter", f"{self._where} has unknown fields: {unknown}")

    def wrong(self, name: str, why: str) -> HostError:
        return HostError("invalid_parameter", f"{self._where}.{name} {why}")

    def _text(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self.wrong(name, "must be a string")
        return value

    def _take(self, name: str, default: Any) -> Any:
        value = self._left.pop(name, None)
        if value is None:
            if default is None:
                raise self.wrong(name, "is missing")
            return default
        return value

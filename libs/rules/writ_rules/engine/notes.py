"""What is noted while a file's entries are read: the mistakes, and which parts of rules say the same."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from msgspec.json import encode

from writ_rules.engine.findings import Finding, Keys, Severity

Made = TypeVar("Made")


class Notes:
    """Of one file."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._shared: dict[bytes, Any] = {}

    def attempt(self, keys: Keys, otherwise: Made, make: Callable[[Any], Made], value: Any) -> Made:
        """`make(value)`; for None `otherwise`, and for a bad value too, which is noted as an error."""
        if value is None:
            return otherwise
        try:
            return make(value)
        except ValueError as error:
            self.findings.append(Finding(Severity.ERROR, keys, str(error)))
            return otherwise

    def whole(
        self, keys: Keys, parts: Iterable[tuple[str, Callable[[Any], object], Any]], make: Callable[[], Made]
    ) -> Made | None:
        """`make()`, if each part can be read; the mistakes of all parts are noted, else that of the whole."""
        before = len(self.findings)
        for key, read, value in parts:
            self.attempt((*keys, key), None, read, value)
        return self.attempt(keys, None, lambda _: make(), keys) if len(self.findings) == before else None

    def share(self, what: object, made: Made) -> Made:
        """What another rule already has for the same words, if there is one: it is judged once for each request."""
        shared: Made = self._shared.setdefault(encode(what, order="sorted"), made)
        return shared

"""Notes made while a file's entries are read: mistakes, and equal parts of rules."""

from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

from msgspec.json import encode

from writ_rules.engine.policy_file.findings import Keys, LintFinding, Severity

Made = TypeVar("Made")
Value = TypeVar("Value", bound=Hashable)


class CompilerNotes:
    """The notes of one file."""

    def __init__(self) -> None:
        self.findings: list[LintFinding] = []
        self._shared: dict[bytes, Any] = {}
        self._same: dict[tuple[type, Any], Any] = {}

    def same(self, value: Value) -> Value:
        """Return the equal value of an earlier rule, if any: thousands of rules have the same few lists."""
        found: Value = self._same.setdefault((type(value), value), value)
        return found

    def attempt(self, keys: Keys, otherwise: Made, make: Callable[[Any], Made], value: Any) -> Made:
        """Return `make(value)`; `otherwise` for None and for a bad value, which is noted as an error."""
        if value is None:
            return otherwise
        try:
            return make(value)
        except ValueError as error:
            self.findings.append(LintFinding(Severity.ERROR, keys, str(error)))
            return otherwise

    def whole(
        self, keys: Keys, parts: Iterable[tuple[str, Callable[[Any], object], Any]], make: Callable[[], Made]
    ) -> Made | None:
        """Return `make()` if each part can be read. The mistakes of all parts are noted, else the one of the whole."""
        before = len(self.findings)
        for key, read, value in parts:
            self.attempt((*keys, key), None, read, value)
        return self.attempt(keys, None, lambda _: make(), keys) if len(self.findings) == before else None

    def share(self, what: object, made: Made) -> Made:
        """Return the object of an earlier rule with the same content, if any, so it is judged once for each request."""
        shared: Made = self._shared.setdefault(encode(what, order="sorted"), made)
        return shared

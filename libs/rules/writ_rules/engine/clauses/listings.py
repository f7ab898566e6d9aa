"""`allowlist_source`: the value must be in a listing of the target itself.

A list not fetched yet is needed. A failed, outdated or unavailable one can't be judged.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from writ_rules.engine.clauses.case import Case, show
from writ_rules.engine.clauses.checks import UnanswerableCheck

MAX_AGE = 60.0
UNIT = ".service"


def _exactly(value: str, names: frozenset[str]) -> bool:
    return value in names


def _as_unit(value: str, names: frozenset[str]) -> bool:
    """Return whether the unit is listed; `.service` is implied, see systemd.unit(5)."""
    return value in names or f"{value}{UNIT}" in names or (value.endswith(UNIT) and value[: -len(UNIT)] in names)


def _below(value: str, names: frozenset[str]) -> bool:
    """Return whether the path is a root, or below one. Another spelling of a path is refused, since it might lead
    elsewhere.
    """
    if any(part in ("", ".", "..") for part in value.split("/")[1:]) and value != "/":
        return False
    return value in names or any(value.startswith(f"{root.rstrip('/')}/") for root in names)


SOURCES: Mapping[str, Callable[[str, frozenset[str]], bool]] = {
    "list_services": _as_unit,
    "list_containers": _exactly,
    "list_guests": _exactly,
    "list_stacks": _exactly,
    "list_images": _exactly,
    "list_volumes": _exactly,
    "list_packages": _exactly,
    "list_backups": _exactly,
    "list_snapshots": _exactly,
    "list_ports": _exactly,
    "list_storages": _exactly,
    "list_file_roots": _below,
}
"""The listings of targets, and the test for a value in each."""


class AllowlistSource(Struct, frozen=True):
    """One list, at most `max_age` seconds old."""

    source: str
    max_age: float
    expected: str

    def holds(self, value: Any, case: Case) -> bool:
        """Return whether the value, or each item of it, is listed. Raises UnanswerableCheck."""
        texts = _texts(value)
        if texts is None:
            raise UnanswerableCheck("is neither text nor a whole number, nor a list of such")
        names = self._names(case)
        return all(SOURCES[self.source](text, names) for text in texts)

    def _names(self, case: Case) -> frozenset[str]:
        if self.source not in SOURCES:
            raise UnanswerableCheck("is not a list of targets")
        listing = case.facts.listings.get(self.source)
        if listing is None:
            raise UnanswerableCheck("was not requested", need=self.source)
        if listing.failure:
            raise UnanswerableCheck(f"could not be listed: {show(listing.failure)}")
        if not abs(case.at - listing.at) <= self.max_age:
            raise UnanswerableCheck(f"could not be checked: the list is {case.at - listing.at:.0f} s old")
        return listing.names


def _texts(value: Any) -> list[str] | None:
    if isinstance(value, list):
        parts = [None if isinstance(item, list) else _texts(item) for item in value]
        return None if None in parts else [text for part in parts for text in part or ()]
    if isinstance(value, str):
        return [value]
    return [str(value)] if isinstance(value, int) and not isinstance(value, bool) else None

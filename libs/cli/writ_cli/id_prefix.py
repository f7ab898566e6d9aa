"""Ids on the command line: in full, or as a prefix that only one id has."""

import re
from collections.abc import Iterable

from writ_client.client import Writ
from writ_contracts.errors import Invalid

WHOLE = 26
SHOWN = 4
_PREFIX = re.compile(r"[a-z2-7]{1,26}").fullmatch


def is_prefix(text: str) -> bool:
    """Return whether the text is an operation id or the beginning of one."""
    return _PREFIX(text) is not None


async def operation_of(writ: Writ, text: str) -> str:
    """Return the id of the operation: one's own, or else one that may be read. Raises Invalid."""
    if not is_prefix(text):
        raise Invalid(f"{text[:80]!r} is not an operation id, nor the beginning of one (26 small letters and digits)")
    return text if len(text) == WHOLE else await writ.find_operation(text)


def one_of(text: str, known: Iterable[str], noun: str) -> str:
    """Return the one id that begins so; a whole one as it is, also where it is unknown. Raises Invalid."""
    found = sorted({one for one in known if one.startswith(text)}) if text else []
    if text in found or (not found and len(text) == WHOLE):
        return text
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(found[:SHOWN]) + (" …" if len(found) > SHOWN else "")
        raise Invalid(f"{len(found)} ids of a {noun} begin with {text!r}: {shown}")
    raise Invalid(f"no id of a {noun} begins with {text[:80]!r}", code="not_found")

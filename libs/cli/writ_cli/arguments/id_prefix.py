"""Ids on the command line: in full, or by a unique prefix."""

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
    """Return the operation's id: one of the caller's own, else a readable one. Raises Invalid."""
    if not is_prefix(text):
        raise Invalid(
            f"{text[:80]!r} is neither an operation id nor the beginning of one (26 small letters and digits)"
        )
    return text if len(text) == WHOLE else await writ.find_operation(text)


def one_of(text: str, known: Iterable[str], noun: str) -> str:
    """Return the only id with this prefix; a whole id as it is, even if unknown. Raises Invalid."""
    found = sorted({one for one in known if one.startswith(text)}) if text else []
    if text in found or (not found and len(text) == WHOLE):
        return text
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(found[:SHOWN]) + (" …" if len(found) > SHOWN else "")
        raise Invalid(f"{len(found)} {noun} ids begin with {text!r}: {shown}")
    raise Invalid(f"no {noun} id begins with {text[:80]!r}", code="not_found")

"""Whole ids for the beginnings of ids, in commands and in parameters of control operations.

A whole id stays as it is, even an unknown one: services know more of them, such as those of stops that were lifted.
Raises Invalid where no known id begins so (`not_found`), or several do.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from writ_contracts.errors import Denied, Invalid
from writ_contracts.ids import WHOLE_ID
from writ_contracts.ids import operation_id as id_of
from writ_contracts.operations import Operation

if TYPE_CHECKING:
    from writ_client.client import Writ

SHOWN = 4
_PREFIX = re.compile(r"[a-z2-7]{1,26}").fullmatch


def is_prefix(text: str) -> bool:
    """Return whether the text is an operation id or the beginning of one."""
    return _PREFIX(text) is not None


def one_of(text: str, known: Iterable[str], noun: str) -> str:
    """Return the only known id that begins so."""
    found = sorted({one for one in known if one.startswith(text)}) if text else []
    if text in found or (not found and len(text) == WHOLE_ID):
        return text
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(found[:SHOWN]) + (" …" if len(found) > SHOWN else "")
        raise Invalid(f"{len(found)} {noun} ids begin with {text!r}: {shown}")
    raise Invalid(f"no {noun} id begins with {text[:80]!r}", code="not_found")


async def operation_of(writ: "Writ", text: str) -> str:
    """Return the operation's id: one of the caller's own, else a readable one."""
    if not is_prefix(text):
        raise Invalid(
            f"{text[:80]!r} is neither an operation id nor the beginning of one (26 small letters and digits)"
        )
    return await writ.whole_operation(text)


async def request_of(writ: "Writ", text: str) -> str:
    """Return the id of a request for approval: one that is pending, else one decided by people of one's roles, or on
    record.
    """
    if len(text) == WHOLE_ID or not is_prefix(text):
        return await operation_of(writ, text)
    pending = [one.operation_id for one in await writ.approvals.every_pending()]
    if any(one.startswith(text) for one in pending):
        return one_of(text, pending, "pending request")
    if decided := await writ.approvals.beginning_with(text):
        return one_of(text, decided, "decided request")
    return await operation_of(writ, text)


async def stop_of(writ: "Writ", text: str) -> str:
    """Return the id of the stop in force."""
    if len(text) == WHOLE_ID:
        return text
    return one_of(text, [one.id for one in (await writ.policy_status()).stops], "stop")


async def emergency_of(writ: "Writ", text: str) -> str:
    """Return the id of the emergency; of one that is over and reviewed the record has the id."""
    if len(text) == WHOLE_ID:
        return text
    return one_of(text, [one.id for one in (await writ.policy_status()).emergencies], "emergency")


async def window_of(writ: "Writ", text: str) -> str:
    """Return the id of the open approval window."""
    if len(text) == WHOLE_ID:
        return text
    return one_of(text, [one.id for one in (await writ.policy_status()).windows], "window")


async def session_of(writ: "Writ", text: str) -> str:
    """Return the id of one's own open session, or of any if none of these begins so and a rule allows it."""
    if len(text) >= WHOLE_ID:
        return text
    own = [one.id for one in (await writ.sessions.open_ones()).sessions]
    if any(one.startswith(text) for one in own):
        return one_of(text, own, "session")
    try:
        return one_of(text, [one.id for one in (await writ.sessions.open_ones(everybody=True)).sessions], "session")
    except Denied:
        return one_of(text, own, "session")


Find = Callable[["Writ", str], Awaitable[str]]
OF_FIELD: Mapping[str, Find] = MappingProxyType(
    {
        "operation_id": operation_of,
        "stop_id": stop_of,
        "emergency_id": emergency_of,
        "window_id": window_of,
        "session_id": session_of,
    }
)
"""By the name of the parameter of a control operation."""
OF_OPERATION: Mapping[str, Find] = MappingProxyType({"approval_decide": request_of})
"""The operations on others' requests."""


def beginnings(operation: Operation | None, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of a control operation that are the beginning of an id, without connection."""
    if operation is None or not operation.control:
        return {}
    given = {name: value for name, value in parameters.items() if name in OF_FIELD and isinstance(value, str)}
    return {name: value for name, value in given.items() if len(value) < WHOLE_ID and is_prefix(value)}


async def with_whole_ids(
    writ: "Writ", operation: Operation | None, parameters: Mapping[str, Any], key: str | None = None
) -> dict[str, Any]:
    """Return the parameters with whole ids in place of their beginnings. `key`: the idempotency key of the request. Its
    repetition has the ids of the first one, whose stop, window or session may be over.
    """
    short = beginnings(operation, parameters)
    if operation is None or not short:
        return dict(parameters)
    first = await _recorded(writ, key) if key else {}
    known = {name: str(first[name]) for name, value in short.items() if str(first.get(name, "")).startswith(value)}
    return dict(parameters) | {
        name: known.get(name) or await OF_OPERATION.get(operation.name, OF_FIELD[name])(writ, value)
        for name, value in short.items()
    }


async def _recorded(writ: "Writ", key: str) -> Mapping[str, Any]:
    """Return the parameters of the request with this key; none before it is on record."""
    try:
        return (await writ.get(id_of(writ.principal, key))).parameters
    except Invalid as error:
        if error.code != "not_found":
            raise
        return {}

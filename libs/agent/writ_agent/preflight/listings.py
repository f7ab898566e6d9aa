"""Listings of a target, signed by this agent: names for the allowlists of a policy.

Each names its read grant, so it cannot be reused for another question. A failed listing carries its reason: an empty
listing means no names exist.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from writ_agent.backends.bounded_call import bounded
from writ_agent.backends.port import Backend, Baselines, Listings, Task, cannot_list
from writ_agent.reporting.receipts import AgentIdentity
from writ_contracts.decisions import ReadGrant
from writ_contracts.errors import Invalid, WritError
from writ_contracts.policy.facts import MOST_LISTED_BYTES, MOST_NAMES, OTHER_NAMES, Listing
from writ_contracts.signing import Signed
from writ_contracts.wire import encode
from writ_runtime.logs import Log
from writ_trust.statements import digest, sign

REFUSED_THERE = frozenset({"unit_alias", "unit_not_found"})
"""Codes for objects that the host shows to nobody: they have no other names to judge by."""
_log = Log("writ.agent")


class ListedNames(NamedTuple):
    """The names of one source, or the reason for their absence."""

    names: Sequence[str] = ()
    failure: str = ""
    code: str = ""


async def list_under(
    backend: Backend, identity: AgentIdentity, signed: Signed, grant: ReadGrant, task: Task, seconds: float
) -> tuple[list[Signed], set[str]]:
    """Return a signed listing for each source of this verified read grant, and the codes of failed ones.

    The sources are listed at the same time, each within `seconds`. `task` is the grant's operation, for the other names
    of its object.
    """
    task = replace(task, parameters={task.operation.named: grant.named}, timeout=seconds)
    found = await asyncio.gather(*(_names(backend, task, source, seconds) for source in grant.sources))
    signed_listings = [
        sign(identity.key, _listing(identity, signed, grant, source, one))
        for source, one in zip(grant.sources, found, strict=True)
    ]
    return signed_listings, {one.code for one in found}


async def _names(backend: Backend, task: Task, source: str, seconds: float) -> ListedNames:
    """Return the sorted names, or the reason for their absence."""
    try:
        names = sorted(set(await bounded(seconds, _listing_of(backend, task, source))))
    except TimeoutError:
        return ListedNames(failure=f"not listed within {seconds:g} s")
    except WritError as error:
        return ListedNames(failure=str(error), code=error.code)
    except Exception as error:  # noqa: BLE001 - a defect of the backend is no empty list; it is logged whole
        _log.error("agent.listing_broke", operation_id=task.operation_id, source=source, exception=error)
        return ListedNames(failure="a defect in the agent; its log has the details")
    if len(names) > MOST_NAMES or len(encode(names)) > MOST_LISTED_BYTES:
        return ListedNames(failure=f"more than {MOST_NAMES} names or {MOST_LISTED_BYTES} bytes: too long to be checked")
    return ListedNames(names)


async def _listing_of(backend: Backend, task: Task, source: str) -> Sequence[str]:
    """List the names of one source. Raises WritError."""
    if source == OTHER_NAMES:
        return await _other_names(backend, task)
    if not isinstance(backend, Listings):
        raise cannot_list(source)
    return await backend.listing(task.target, source)


async def _other_names(backend: Backend, task: Task) -> Sequence[str]:
    """Return the other names by a baseline. Raises WritError."""
    if not isinstance(backend, Baselines):
        raise cannot_list(OTHER_NAMES)
    try:
        observed = await backend.baseline(task)
    except WritError as error:
        if error.code in REFUSED_THERE:
            return ()
        raise
    if not isinstance(names := observed.get("names"), list):
        raise Invalid(f"its other names are not known ({task.operation.named})", code="unsupported")
    return [str(name) for name in names]


def _listing(identity: AgentIdentity, signed: Signed, grant: ReadGrant, source: str, found: ListedNames) -> Listing:
    return Listing(
        operation_id=grant.operation_id,
        source=source,
        target=grant.target.id,
        pool=identity.pool,
        instance=identity.instance,
        look_digest=digest(signed),
        taken_at=time.time(),
        names=list(found.names),
        failure=found.failure[:500],
    )

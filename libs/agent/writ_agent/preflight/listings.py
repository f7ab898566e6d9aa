"""Listings of a target, signed by this agent: what is there, by name, for the allowlists of a policy.

Each names the look that it was made under, so nobody can show it for another question. What could not be listed is said
with its reason: an empty listing means that there is nothing.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from writ_agent.backends.port import Backend, Baselines, Listings, Task, cannot_list
from writ_agent.reporting.receipts import Identity
from writ_contracts.decisions import ReadGrant
from writ_contracts.errors import Invalid, WritError
from writ_contracts.facts import MOST_LISTED_BYTES, MOST_NAMES, OTHER_NAMES, Listing
from writ_contracts.signing import Signed
from writ_contracts.wire import encode
from writ_runtime.logs import Log
from writ_trust.statements import digest, sign

REFUSED_THERE = frozenset({"unit_alias", "unit_not_found"})
"""Codes of what the host shows to nobody: it has no other names to be judged by."""
_log = Log("writ.agent")


class ListedNames(NamedTuple):
    """What is there, or why that can't be told."""

    names: Sequence[str] = ()
    failure: str = ""
    code: str = ""


async def list_under(
    backend: Backend, identity: Identity, signed: Signed, grant: ReadGrant, task: Task, seconds: float
) -> tuple[list[Signed], set[str]]:
    """A signed listing for each source that this verified look allows, and the codes of what kept us from any; each has
    `seconds`, all at the same time.

    `task` is the look's operation, for what else the thing is called that it names.
    """
    task = replace(task, parameters={task.operation.named: grant.named}, timeout=seconds)
    found = await asyncio.gather(*(_names(backend, task, source, seconds) for source in grant.sources))
    signed_listings = [
        sign(identity.key, _listing(identity, signed, grant, source, one))
        for source, one in zip(grant.sources, found, strict=True)
    ]
    return signed_listings, {one.code for one in found}


async def _names(backend: Backend, task: Task, source: str, seconds: float) -> ListedNames:
    """The names, sorted, or why there are none."""
    try:
        async with asyncio.timeout(seconds):
            names = sorted(set(await _listing_of(backend, task, source)))
    except TimeoutError:
        return ListedNames(failure=f"not listed within {seconds:g} s")
    except WritError as error:
        return ListedNames(failure=str(error), code=error.code)
    except Exception as error:  # noqa: BLE001 - a defect of the backend is no empty list; it is logged whole
        _log.error("agent.listing_broke", operation_id=task.operation_id, source=source, exception=error)
        return ListedNames(failure="a defect of the agent; its log has the details")
    if len(names) > MOST_NAMES or len(encode(names)) > MOST_LISTED_BYTES:
        return ListedNames(failure=f"more than {MOST_NAMES} names or {MOST_LISTED_BYTES} bytes: too long to be checked")
    return ListedNames(names)


async def _listing_of(backend: Backend, task: Task, source: str) -> Sequence[str]:
    """Raises WritError."""
    if source == OTHER_NAMES:
        return await _other_names(backend, task)
    if not isinstance(backend, Listings):
        raise cannot_list(source)
    return await backend.listing(task.target, source)


async def _other_names(backend: Backend, task: Task) -> Sequence[str]:
    """As a baseline tells them. Raises WritError."""
    if not isinstance(backend, Baselines):
        raise cannot_list(OTHER_NAMES)
    try:
        observed = await backend.baseline(task)
    except WritError as error:
        if error.code in REFUSED_THERE:
            return ()
        raise
    if not isinstance(names := observed.get("names"), list):
        raise Invalid(f"it is not told what {task.operation.named} is called besides", code="unsupported")
    return [str(name) for name in names]


def _listing(identity: Identity, signed: Signed, grant: ReadGrant, source: str, found: ListedNames) -> Listing:
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

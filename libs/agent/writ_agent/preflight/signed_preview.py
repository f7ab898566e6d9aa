"""Signed previews: an operation's expected effect and the target's state, under this agent's signature."""

import secrets
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from writ_agent.backends.port import Backend, Baselines, Previews, Task, lacks
from writ_agent.reporting.receipts import AgentIdentity
from writ_contracts.agents import ReadReply, ReadRequest
from writ_contracts.decisions import ReadGrant
from writ_contracts.errors import Conflict, Invalid
from writ_contracts.parameters import hidden, public, recorded, telling
from writ_contracts.people.previews import CUT, DETAILS, MAX_DETAILS_BYTES, MAX_PREVIEW_BYTES, Preview, PreviewDetails
from writ_contracts.wire import canonical
from writ_trust.digests import keyed_digest
from writ_trust.statements import digest, read, sign

VERSIONS = ("version", "source_version")
"""Fields of a state by which a file is the one of the preview, also where another one was put there meanwhile. A
preview has those of the files that it read, which are compared and not shown.
"""


async def signed_preview(
    backend: Backend, identity: AgentIdentity, ask: ReadRequest, task: Task, now: float
) -> ReadReply:
    """Return the preview and its signed form. Raises Invalid (`unsupported`), and the backend's own errors.

    Without hidden parameters the parameters show the whole effect, so a backend without previews signs an empty one.
    """
    task.operation.check(task.parameters)
    state = await _state(backend, task)  # before the preview: a change in between is then noticed at the start
    observed, note = await _previewed(backend, task), ""
    if observed is None:
        if hidden(task.operation.parameters, task.parameters):
            raise lacks(task, "preview")
        observed, note = {}, "this agent has no preview of it"
    if [name for name in VERSIONS if name in state and observed.get(name, state[name]) != state[name]]:
        raise Conflict("its file was written while it was previewed: try again", code="source_changed")
    shown = {name: value for name, value in observed.items() if name not in VERSIONS or name not in state}
    return _reply(identity, ask, task, shown, state, note, now)


async def _previewed(backend: Backend, task: Task) -> dict[str, Any] | None:
    if not isinstance(backend, Previews):
        return None
    try:
        return await backend.preview(task)
    except Invalid as error:
        if error.code != "unsupported":
            raise
        return None


async def _state(backend: Backend, task: Task) -> dict[str, Any]:
    """Return the fields of the baseline which must hold until the start."""
    if not task.operation.settled or not isinstance(backend, Baselines):
        return {}
    shown = Task(
        operation_id=task.operation_id,
        attempt=task.attempt,
        operation=task.operation,
        target=task.target,
        parameters=public(task.operation.parameters, task.parameters),
        timeout=task.timeout,
    )
    observed = await backend.baseline(shown)
    return {name: observed[name] for name in task.operation.settled if name in observed}


def _divided(
    identity: AgentIdentity, ask: ReadRequest, task: Task, observed: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields to show, and the details; without the right to read, no fields that reveal contents."""
    fields = telling(task.operation.output)
    known = {name: value for name, value in observed.items() if task.diff or name not in fields}
    if not ask.shown:
        return {}, known
    keyed = recorded(task.operation.output, known, partial(identity.keyed, task.target.id))
    digests = {name: value for name, value in known.items() if keyed.get(name, value) != value}
    secret = {**digests, **{name: value for name, value in known.items() if name in DETAILS}}
    return {**{name: value for name, value in known.items() if name not in secret}, **_of(keyed, digests)}, secret


def _of(keyed: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: keyed[name] for name in names}


def _reply(
    identity: AgentIdentity,
    ask: ReadRequest,
    task: Task,
    observed: Mapping[str, Any],
    state: dict[str, Any],
    note: str,
    now: float,
) -> ReadReply:
    complete = not observed.get(CUT)
    kept = {name: value for name, value in observed.items() if name != CUT}
    shown, secret = _divided(identity, ask, task, kept)
    if len(canonical(shown)) > MAX_PREVIEW_BYTES or len(canonical(secret)) > MAX_DETAILS_BYTES:
        shown, secret, complete, note = {}, {}, False, "too large to show"
    details = PreviewDetails(salt=secrets.token_hex(32), values=secret) if secret else None
    statement = Preview(
        operation_id=task.operation_id,
        operation=task.operation.name,
        target=task.target.id,
        pool=identity.pool,
        instance=identity.instance,
        look_digest=digest(ask.look),
        parameters_digest=read(ask.look, ReadGrant).previewed,  # the grant was verified with these parameters
        taken_at=now,
        shown=shown,
        state=state,
        details_digest=keyed_digest(details.salt, details.values) if details else None,
        complete=complete,
        note=note or ("" if complete else "it does not show the whole effect"),
    )
    return ReadReply(
        observed=shown or ({"note": note} if note else {}), preview=sign(identity.key, statement), details=details
    )

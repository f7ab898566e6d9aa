"""Signed previews: an operation's expected effect, reported by the target's agent for its approvers.

The journal has the signed preview. Confidential details (the diff of a file) are stored encrypted elsewhere. The
preview commits to them by a digest under a random key which travels with them.
"""

from typing import Annotated

from msgspec import Meta, Struct, field

from writ_contracts.bounds import Values
from writ_contracts.ids import Digest, Hex32, InstanceId, OperationId, OperationName, PoolId, PrincipalId, TargetId
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed, Statement

MAX_PREVIEW_BYTES = 24_576
"""Of the signed payload: the event that brings it is at most 64 KiB, and base64 adds a third."""
MAX_DETAILS_BYTES = 524_288
DETAILS = ("diff",)
"""The fields of a backend's preview that may quote secret values."""
CUT = "cut"
"""The field of a backend's preview that says that it does not show everything."""


class Preview(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.preview.v1"
):
    """An agent's signed report of the expected effect of one exact operation.

    `look_digest` names policy's read grant, and `parameters_digest` is its `previewed`: an approval is of a decision on
    those parameters. `state` is the target's baseline at that moment; the start compares it with the state then.
    `complete` is false where a part of the effect is not shown; `note` names the part.
    """

    operation_id: OperationId
    operation: OperationName
    target: TargetId
    pool: PoolId
    instance: InstanceId
    look_digest: Digest
    parameters_digest: Digest | None = None
    taken_at: float
    shown: Values = field(default_factory=dict)
    state: Values = field(default_factory=dict)
    details_digest: Digest | None = None
    complete: bool = True
    note: Annotated[str, Meta(max_length=500)] = ""


class PreviewDetails(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Fields of `DETAILS` with the key of their digest in the preview."""

    salt: Hex32
    values: Values = field(default_factory=dict)


class LastChange(Struct, frozen=True, kw_only=True):
    """The latest start of a changing operation on a target, by policy's own grant."""

    operation_id: OperationId
    operation: OperationName
    principal: PrincipalId
    at: float


class ApprovalFacts(Statement, frozen=True, kw_only=True, tag="writ.approval_facts.v1"):
    """The facts on one reader's card for which policy vouches, signed by policy.

    `preview` is the digest of the signed preview, `preview_key` the key of its signer, an agent of the target's pool.
    `previews`: true for an operation with previews, so a missing one is noticed. `behind`: the targets whose gateway
    the target is. `details`: the reader may request the preview's details from executors.
    """

    operation_id: OperationId
    reader: PrincipalId
    requested: Digest
    issued_at: float
    previews: bool = False
    preview: Digest | None = None
    preview_key: str = ""
    details: bool = False
    role: str = ""
    tags: list[str] = field(default_factory=list)
    behind: list[TargetId] = field(default_factory=list)
    behind_count: int = 0
    last_change: LastChange | None = None


class PreviewQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Query the details of a preview (`….preview`). `facts`: policy's signed ApprovalFacts for the sender."""

    facts: Signed


class PreviewReply(Struct, frozen=True, kw_only=True):
    """The details, or why not."""

    details: PreviewDetails | None = None
    error: Failure | None = None

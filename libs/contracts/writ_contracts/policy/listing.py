"""The part of an inventory that a principal may list: executors request it from policy before they reply."""

from typing import Annotated

from msgspec import Meta, Struct, field

from writ_contracts.ids import PrincipalId, TargetId
from writ_contracts.requests import Failure

MOST_TARGETS = 64
"""Of one question: its answer takes policy milliseconds, and other decisions wait meanwhile."""


class VisibleRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An executor queries policy which of these targets a principal may list (`writ.policy.visible`).

    `key` is the sender's key, as the NATS server names it.
    """

    principal: PrincipalId
    key: str
    targets: Annotated[list[TargetId], Meta(max_length=MOST_TARGETS)] = field(default_factory=list)


class VisibleReply(Struct, frozen=True, kw_only=True):
    """The reply. `limited` false: the principal may list everything. Otherwise `operations` has those of the targets
    that it may list, with the operations it may list on each.
    """

    limited: bool = False
    operations: dict[str, list[str]] = field(default_factory=dict)
    error: Failure | None = None

"""Parameters of the control operations on approval windows: approvals given ahead, for a number of uses.

A window replaces no rule: its approvals count for each operation it names, while it is open.
"""

from typing import Annotated

from msgspec import Meta

from writ_contracts.catalogue.grammar import Reason
from writ_contracts.ids import TOKEN_PATTERN, OperationName, TargetId
from writ_contracts.parameters import PUBLIC, Parameters, Timeout

MOST_USES = 1000
LONGEST = 7 * 86_400
MOST_TARGETS, MOST_OPERATIONS = 64, 32


class WindowRequest(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The window: so many uses of these operations on these targets by the requester, within `seconds` from its
    approval.
    """

    operations: Annotated[list[OperationName], Meta(min_length=1, max_length=MOST_OPERATIONS), PUBLIC]
    targets: Annotated[list[TargetId], Meta(min_length=1, max_length=MOST_TARGETS), PUBLIC]
    uses: Annotated[int, Meta(ge=1, le=MOST_USES), PUBLIC]
    seconds: Annotated[int, Meta(ge=1, le=LONGEST), PUBLIC]
    reason: Reason
    timeout: Annotated[Timeout, Meta(le=60)] = 30

    def __post_init__(self) -> None:
        for name in ("operations", "targets"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} has an entry twice")


class WindowEnd(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The window to end before its time."""

    window_id: Annotated[
        Annotated[str, Meta(pattern=TOKEN_PATTERN, description="the id of the window's request")], PUBLIC
    ]
    timeout: Annotated[Timeout, Meta(le=60)] = 30

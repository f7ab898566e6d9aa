"""One operation by many principals, on many targets, at many instants: the requests of `simulate`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any

from writ_contracts.errors import Invalid
from writ_contracts.policy_questions import MAX_REQUESTS, EvalRequest, EvalResult

Simulated = list[tuple[EvalRequest, EvalResult]]
"""Each request, and what the policy says of it."""


def combinations(
    operation: str,
    parameters: Mapping[str, Any] | None,
    *,
    principals: Sequence[str],
    targets: Sequence[str],
    at: Sequence[float],
    dry_run: bool,
    emergency: bool,
) -> list[EvalRequest]:
    """All of them, instants innermost; `at` in Unix seconds, now where it is empty. Raises Invalid where they are too
    many.
    """
    if (count := len(principals) * len(targets) * max(1, len(at))) > MAX_REQUESTS:
        raise Invalid(f"{count} combinations, at most {MAX_REQUESTS}: name fewer targets")
    instants: list[str | None] = [datetime.fromtimestamp(seconds, UTC).isoformat() for seconds in at]
    return [
        EvalRequest(
            principal=principal,
            operation=operation,
            target=target,
            parameters=dict(parameters or {}),
            at=instant,
            dry_run=dry_run,
            emergency=emergency,
        )
        for principal, target, instant in product(principals, targets, instants or [None])
    ]

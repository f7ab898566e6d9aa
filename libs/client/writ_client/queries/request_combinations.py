"""One operation by many principals, on many targets, at many instants: the requests of `matrix`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any

from writ_contracts.errors import Invalid
from writ_contracts.policy.questions import MAX_REQUESTS, EvalRequest, EvalResult

Decided = list[tuple[EvalRequest, EvalResult]]
"""Each request with its decision."""


class RequestCombinations(ABC):
    """`matrix`, for classes with `eval`."""

    @abstractmethod
    async def eval(self, requests: Sequence[EvalRequest]) -> list[EvalResult]:
        """Return the decisions on requests of any principal."""

    @abstractmethod
    def _who(self, named: str | None) -> str:
        """Return the named principal: oneself by default. Raises Invalid."""

    async def matrix(
        self,
        operation: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        targets: Sequence[str],
        principals: Sequence[str] = (),
        at: Sequence[float] = (),
        dry_run: bool = False,
        emergency: bool = False,
    ) -> Decided:
        """Return the decisions on one operation in all combinations: by each principal (by default oneself), on each
        target, at each instant (Unix seconds; by default now), instants innermost. Raises Invalid where they are too
        many.
        """
        who = principals or [self._who(None)]
        if (count := len(who) * len(targets) * max(1, len(at))) > MAX_REQUESTS:
            raise Invalid(f"{count} combinations, at most {MAX_REQUESTS}: name fewer targets")
        instants: list[str | None] = [datetime.fromtimestamp(seconds, UTC).isoformat() for seconds in at]
        requests = [
            EvalRequest(
                principal=principal,
                operation=operation,
                target=target,
                parameters=dict(parameters or {}),
                at=instant,
                dry_run=dry_run,
                emergency=emergency,
            )
            for principal, target, instant in product(who, targets, instants or [None])
        ]
        return list(zip(requests, await self.eval(requests), strict=True))

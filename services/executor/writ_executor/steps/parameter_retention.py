"""The age of hidden parameters in their store: as long as people may decide on the operation, and then until its end.

A stop makes the time to decide longer. Executors renew what they keep while it does.
"""

from collections.abc import Callable

from writ_contracts.decisions import Decision
from writ_contracts.journal import Requested
from writ_contracts.life import AcceptedLife
from writ_contracts.people.approvals import seconds_of
from writ_executor.config import ExecutorConfig
from writ_executor.journal.hidden_values import Vault
from writ_trust.statements import read

SLACK, PENDING_SLACK = 3_600.0, 86_400.0
"""Seconds beyond all deadlines. Executors that were down for a day find what waits for people with its parameters."""
RENEW_EVERY = 1_800.0
MOST_REMEMBERED = 20_000


def seconds_kept(decision: Decision, timeout: float, config: ExecutorConfig) -> float:
    """Return how long the parameters of an operation are kept, counted from now."""
    decide, start = seconds_of(decision.demands), _seconds_of_starts(timeout, config)
    return decide + start + (PENDING_SLACK if decide else SLACK)


def seconds_kept_without_approval(timeout: float, config: ExecutorConfig) -> float:
    """Return the same for an operation that needs no approval."""
    return _seconds_of_starts(timeout, config) + SLACK


def _seconds_of_starts(timeout: float, config: ExecutorConfig) -> float:
    return config.queue_window + 3 * (config.start_window + timeout)


class ParameterRetention:
    """Renews what is kept of operations whose time to decide stands still."""

    def __init__(self, config: ExecutorConfig, vault: Vault, boot: Callable[[], float]) -> None:
        """`boot`: the boot clock."""
        self._config = config
        self._vault = vault
        self._boot = boot
        self._renewed: dict[str, float] = {}

    async def renew(self, life: AcceptedLife) -> None:
        """Keep the parameters and the details of the preview longer, at most every half hour."""
        requested = life.requested
        if self._boot() < self._renewed.get(requested.operation_id, float("-inf")) + RENEW_EVERY:
            return
        if len(self._renewed) >= MOST_REMEMBERED:
            self._renewed.clear()
        self._renewed[requested.operation_id] = self._boot()
        try:
            await self._renew(requested, life.preview_digest)
        except BaseException:
            self._renewed.pop(requested.operation_id, None)  # the next round tries again
            raise

    async def _renew(self, requested: Requested, preview: str) -> None:
        seconds = seconds_kept(read(requested.decision, Decision), requested.timeout, self._config)
        await self._vault.renew(requested, preview, seconds)

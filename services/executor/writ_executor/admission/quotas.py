"""Quotas: the most that one principal, or one pool, may use of what all share.

Each executor counts what it has read, and what it is about to record itself. So with several executors a quota may be
exceeded by the requests that the others are recording at that moment.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count

from msgspec import Struct

from writ_contracts.errors import Full
from writ_executor.config import ExecutorConfig
from writ_executor.journal.usage import Amount, Owner, OwnerUsage

SHARED_FROM = 0.5
"""Fill level of the journal from which its quotas count, for the others' sake."""


class Quota(Struct, frozen=True):
    """A quota of each principal or pool. `setting`: the field of the executor's configuration with the limit."""

    owner: Owner
    amount: Amount
    setting: str
    unit: str
    code: str = "too_many_open"
    advice: str = ""

    @property
    def variable(self) -> str:
        """The environment variable with the limit."""
        return f"WRIT_{self.setting.upper()}"


ONE_MORE: Mapping[Amount, float] = {"open_operations": 1, "journal_bytes": 1}
OPEN, HIDDEN = "operations that have not ended", "bytes of parameters in operations that have not ended"
WRITTEN = "bytes of the journal, written within an hour"
ARCHIVE = ": wait, or archive the journal (`writ journal archive`)"
QUOTAS = (
    Quota("principal", "open_operations", "most_open", OPEN),
    Quota("pool", "open_operations", "most_open_pool", OPEN),
    Quota("principal", "hidden_bytes", "most_hidden", HIDDEN),
    Quota("pool", "hidden_bytes", "most_hidden_pool", HIDDEN),
    Quota("principal", "journal_bytes", "journal_share", WRITTEN, "full", ARCHIVE),
    Quota("pool", "journal_bytes", "journal_share_pool", WRITTEN, "full", ARCHIVE),
)

OWN_CONTROL = Quota(
    "principal",
    "journal_bytes",
    "journal_share",
    "bytes of the journal, written within an hour by cancels, sessions and windows",
    "full",
    ARCHIVE,
)
"""Of control operations that are not rare: most need no rule. Stops and the like have no quota."""
BOUNDED = frozenset({"operation_cancel", "session_open", "session_end", "window_request", "window_end"})


class QuotaExceeded(Full):
    """A quota has no room for the request."""

    def __init__(self, quota: Quota, owner: str, used: float, limit: float) -> None:
        super().__init__(
            f"{quota.owner} {owner} has {used:.0f} {quota.unit}; at most {limit:.0f} are allowed ({quota.variable})"
            f"{quota.advice}",
            code=quota.code,
        )
        self.quota = quota


class Quotas:
    """All quotas, with the room that requests on their way into the journal already took."""

    def __init__(self, config: ExecutorConfig, usages: Mapping[Owner, OwnerUsage]) -> None:
        self._config = config
        self._usages = usages
        self._numbers = count()
        self._reserved: Mapping[Owner, OwnerUsage] = {owner: OwnerUsage() for owner in usages}
        self.journal_bytes = 0
        """Size of the journal; 0 as long as it is not known."""
        self.fill = 0.0
        """Used share of the journal."""

    def limit(self, quota: Quota) -> float:
        """Return the limit in the unit of the amount; infinite while it does not count."""
        setting = float(getattr(self._config, quota.setting))
        if quota.amount != "journal_bytes":
            return setting
        counts = self.journal_bytes > 0 and self.fill >= SHARED_FROM
        return setting * self.journal_bytes if counts else float("inf")

    def check(self, kind: Owner, owner: str, more: Mapping[Amount, float]) -> None:
        """Check the room for this much more. Raises QuotaExceeded."""
        for quota in QUOTAS:
            if quota.owner != kind or not (amount := more.get(quota.amount, 0)):
                continue
            limit, used = self.limit(quota), self._used(kind, owner, quota.amount)
            if used + amount > limit:
                raise QuotaExceeded(quota, owner, used, limit)

    def check_control(self, operation: str, principal: str, fill: float) -> None:
        """Check the room for one more control operation. Raises QuotaExceeded. `fill`: with what open operations write.

        The bound is a share of the free part: one principal cannot use up the room that is reserved for stops, cancels
        and ends of all others.
        """
        if operation not in BOUNDED or self.journal_bytes <= 0 or fill < SHARED_FROM:
            return
        limit = self._config.journal_share * self.journal_bytes * max(0.0, 1 - fill)
        used = self._usages["principal"].control.of(principal)
        if used > limit:
            raise QuotaExceeded(OWN_CONTROL, principal, used, limit)

    def has_share(self, principal: str) -> bool:
        """Return whether the principal may write more of the journal by operations that are not control operations."""
        try:
            self.check("principal", principal, {"journal_bytes": 1})
        except QuotaExceeded:
            return False
        return True

    @contextmanager
    def reserve(self, owners: Mapping[Owner, str], more: Mapping[Amount, float]) -> Iterator[None]:
        """Take this room while an operation is recorded. Raises QuotaExceeded."""
        for kind, owner in owners.items():
            self.check(kind, owner, more)
        one = str(next(self._numbers))  # not its id: several requests with one key may be under way
        for kind, owner in owners.items():
            self._reserved[kind].opened(owner, one, int(more.get("hidden_bytes", 0)))
        try:
            yield
        finally:
            for kind, owner in owners.items():
                self._reserved[kind].ended(owner, one)

    def _used(self, kind: Owner, owner: str, amount: Amount) -> float:
        return self._usages[kind].of(owner, amount) + self._reserved[kind].of(owner, amount)

    def used_ratios(self) -> dict[tuple[str, ...], float]:
        """Return by owner and amount the largest used share of each quota."""
        return {
            (one.owner, one.amount): self._usages[one.owner].largest(one.amount) / self.limit(one) for one in QUOTAS
        }

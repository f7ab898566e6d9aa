"""What a decision says: the effect, why, by which rules, and what comes with it."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field, structs

from writ_contracts.decisions import Effect, TraceEntry
from writ_rules.engine.facts import Need
from writ_rules.engine.obligations import Demand, RuleLimit, by_rule
from writ_rules.engine.trace import Trace

STRICTNESS: dict[Effect, int] = {"allow": 0, "require_approval": 1, "deny": 2}


class Ruling(Struct, frozen=True, kw_only=True):
    """What was decided and why; `effective` are the parameters with all defaults, `timeout` an upper limit.

    `needs`: what to ask the target for before asking again; with the code `facts_needed` alone. `limits`: how many of
    what the rules allow may run at once, which executors keep. `nearest`: the allow rule that came nearest to
    matching, when none did, and `opens_at` when its window opens (Unix seconds). `could_approve`: who could say the
    next yes. `emergency`: the one in force for the target. `account`: what is told of each rule.
    """

    effect: Effect
    code: str
    reason: str
    effective: Mapping[str, Any]
    rules: list[str] = field(default_factory=list)
    account: Trace = field(default_factory=Trace)
    demands: list[Demand] = field(default_factory=list)
    limits: list[RuleLimit] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)
    timeout: int | None = None
    nearest: TraceEntry | None = None
    opens_at: float | None = None
    could_approve: list[str] = field(default_factory=list)
    emergency: str = ""

    @property
    def trace(self) -> list[TraceEntry]:
        """All rules that were considered; made when asked for."""
        return list(self.account)


def stricter(first: Ruling, again: Ruling) -> Ruling:
    """The stricter of two; of equals the first, with what comes with either."""
    if STRICTNESS[again.effect] != STRICTNESS[first.effect]:
        return max(first, again, key=lambda ruling: STRICTNESS[ruling.effect])
    limits = [ruling.timeout for ruling in (first, again) if ruling.timeout is not None]
    return structs.replace(
        first,
        demands=sorted({*first.demands, *again.demands}, key=by_rule),
        limits=sorted({*first.limits, *again.limits}, key=by_rule),
        could_approve=sorted({*first.could_approve, *again.could_approve}),
        timeout=min(limits) if limits else None,
    )

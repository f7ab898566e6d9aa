"""The result of a decision: effect, reason, deciding rules, and obligations."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field, structs

from writ_contracts.decisions import Effect, TraceEntry
from writ_rules.engine.decisions.trace import RuleTrace
from writ_rules.engine.facts import NeededListing
from writ_rules.engine.rules.obligations import Demand, RuleLimit, by_rule

STRICTNESS: dict[Effect, int] = {"allow": 0, "require_approval": 1, "deny": 2}


class Ruling(Struct, frozen=True, kw_only=True):
    """The result of a decision; `effective` are the parameters with all defaults, `timeout` an upper limit.

    `needs`: listings to fetch before the request is decided again; with the code `facts_needed` alone. `limits`: upper
    limits of operations at once, which executors keep. `nearest`: the allow rule nearest to matching, when none did,
    and `opens_at` the opening of its window (Unix seconds). `ends_at`: the end of a deny, where it has one.
    `could_approve`: the possible next approvers. `emergency`: the one in force for the target. `passed_over`: the
    people who could have approved it without that. `rule_trace`: the trace of all considered rules, made on demand.
    """

    effect: Effect
    code: str
    reason: str
    effective: Mapping[str, Any]
    rules: list[str] = field(default_factory=list)
    rule_trace: RuleTrace = field(default_factory=RuleTrace)
    demands: list[Demand] = field(default_factory=list)
    limits: list[RuleLimit] = field(default_factory=list)
    needs: list[NeededListing] = field(default_factory=list)
    timeout: int | None = None
    nearest: TraceEntry | None = None
    opens_at: float | None = None
    ends_at: float | None = None
    could_approve: list[str] = field(default_factory=list)
    emergency: str = ""
    passed_over: list[str] = field(default_factory=list)

    @property
    def trace(self) -> list[TraceEntry]:
        return list(self.rule_trace)


def stricter(first: Ruling, again: Ruling) -> Ruling:
    """Return the stricter of two rulings; of equals the first, with the obligations of both."""
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

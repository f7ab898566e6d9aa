"""Warn an approver of a request that would not start now, although enough people approved it.

The rules are judged with the parameters on record, so a request with hidden ones is only compared with the inventory
and with the version of the policy. The decision at its start counts.
"""

from collections.abc import Mapping
from typing import Any

from writ_contracts.errors import Invalid
from writ_contracts.people.persons import person_of
from writ_contracts.wire import canonical, encode
from writ_policy.approvals.verdicts import PendingOperation
from writ_policy.decisions.rulings import Judge
from writ_policy.state.snapshot import PolicySnapshot
from writ_rules.engine.checked_request import checked_request
from writ_rules.engine.decide import decide
from writ_trust.digests import plain_digest

LONGEST = 500


def warning_of(standing: PendingOperation, judge: Judge) -> str:
    """Return why the operation would not start now, or may not; nothing where it would."""
    decision, snapshot = standing.decision, judge.snapshot
    if lost := lost_access(standing, snapshot):
        return f"its requester has lost access, so it would not start: {lost}"
    target = snapshot.targets.get(decision.target)
    if target is None:
        return f"target {decision.target} is not in the inventory any more"
    if decision.target_digest not in (None, plain_digest(encode(target))):
        return f"target {decision.target} changed in the inventory since the request, so it would end as stale"
    return _by_rules(standing, judge)[:LONGEST]


def lost_access(standing: PendingOperation, snapshot: PolicySnapshot) -> Invalid | None:
    """Return why its requester could not request it now, as its start would find: disabled, or with another key."""
    try:
        snapshot.requester(standing.asker.id, standing.life.requested.key, recorded=True)
    except Invalid as error:
        return error
    return None


def _by_rules(standing: PendingOperation, judge: Judge) -> str:
    decision, requested, snapshot = standing.decision, standing.life.requested, judge.snapshot
    operation = judge.catalogue.find(decision.operation)
    if operation.control:  # policy checks more than rules for them
        return ""
    if any(name not in requested.effective for name in requested.hidden):
        changed = decision.policy != snapshot.version
        return "the policy changed since the request, and decides at its start again" if changed else ""
    own = {**{name: requested.effective[name] for name in requested.hidden}, **requested.parameters}
    try:
        request = checked_request(
            operation,
            snapshot.targets[decision.target],
            standing.asker,
            own,
            at=judge.now,
            dry_run=decision.dry_run,
            person=person_of(standing.asker.id, snapshot.principals),
        )
    except Invalid as error:
        return f"it is invalid by now: {error}"
    ruling = decide(snapshot.seen_by(standing.asker, judge.now).policy, request, judge.control, snapshot.people)
    if ruling.effect == "deny":
        return "" if ruling.needs else f"by now it is denied: {ruling.reason}"
    return _other_values(requested.effective, ruling.effective)


def _other_values(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return which values are filled in otherwise by now; the requester's own are the same."""
    names = sorted(name for name, value in then.items() if canonical(value) != canonical(now.get(name)))
    return f"other values of {', '.join(names)} are filled in by now, so it would end as stale" if names else ""

"""Metrics of the policy service: decisions by effect, operation and role, refused files, and the policy in force."""

from collections import Counter

from writ_contracts.agents import SecurityKind
from writ_contracts.journal import Requested
from writ_contracts.operations import Catalogue
from writ_contracts.registry import CHANNELS, Role
from writ_policy.decisions.rulings import RuledRequest
from writ_policy.state import control_views
from writ_policy.state.snapshot import PolicySnapshot
from writ_policy.state.sources import FILES
from writ_rules.engine.compile import ROLES
from writ_rules.engine.control import ControlState
from writ_runtime.journal.journal_notices import dropped_notices
from writ_runtime.journal.security_events import security_counter
from writ_runtime.metric_series import POOLS, AtMost
from writ_runtime.metrics import Metrics

STORE = "store"
QUESTIONS = [one for one in CHANNELS if Role.POLICY in one.receivers and one.name.startswith("query_")]
EMERGENCY_STATES = ("unconfirmed", "in_force", "unreviewed")
EFFECTS = ("allow", "deny", "require_approval")


def metrics() -> Metrics:
    """Return the metrics of this service and its endpoints."""
    return Metrics(endpoints=("decide", "grant", "visible", "scan", *(one.name for one in QUESTIONS)))


class PolicyMeasures:
    """The metrics of the policy service."""

    def __init__(self, measured: Metrics, catalogue: Catalogue) -> None:
        labels = {"effect": EFFECTS, "operation": tuple(catalogue), "role": ROLES}
        self._decisions = measured.counter("writ_policy_decisions_total", "Decisions made.", labels)
        self._opened = measured.counter(
            "writ_policy_signature_lookups_total",
            "Recorded decisions that policy opened again for a start: hit if this process signed it lately, so that "
            "its signature is known, miss if it was verified. Decisions themselves are not cached: each start needs a "
            "new one.",
            {"result": ("hit", "miss")},
        )
        self._refused = measured.counter(
            "writ_policy_load_errors_total",
            "Changed files, and stored versions of the policy, that could not be used.",
            {"file": (*FILES, STORE)},
        )
        rejected = {"outcome": ("rejected",)}
        self._ended = measured.counter(
            "writ_operations_total",
            "Operations that people rejected, which policy records; executors count the others.",
            {**rejected, "pool": AtMost(POOLS), "operation": tuple(catalogue)},
        )
        self._outcomes = measured.counter(
            "writ_outcomes_total",
            "Operations that people rejected, which policy records; executors count the others.",
            rejected,
        )
        self._security = security_counter(measured)
        self.notice_dropped = dropped_notices(measured)
        self._lost = measured.gauge("writ_policy_versions_lost", "1 while the store lacks a version that was enforced.")
        self._info = measured.info("writ_policy", "The policy in force.")
        self._version = measured.gauge("writ_policy_version", "Number of the version in force; replicas should agree.")
        self._rules = measured.gauge("writ_policy_rules", "Enabled rules of the policy in force.")
        self._stops = measured.gauge("writ_policy_stops", "Stops in force.")
        self._emergencies = measured.gauge(
            "writ_policy_emergencies",
            "Emergencies in force, confirmed or not, and those that are over without a review that is signed off.",
            {"state": EMERGENCY_STATES},
        )

    def controlled(self, control: ControlState, now: float) -> None:
        """Set the numbers of stops and emergencies."""
        self._stops.set(len(control_views.stops(control, now)))
        counts = Counter(str(one.state) for one in control_views.emergencies(control, now))
        counts["unreviewed"] = sum(counts[state] for state in ("ended", "expired", "lapsed"))
        for state in EMERGENCY_STATES:
            self._emergencies.set(counts[state], state=state)

    def decided(self, ruled: RuledRequest) -> dict[str, object]:
        """Count a decision, and return its fields for the log."""
        decision, role = ruled.decision, ruled.request.target.role
        self._decisions.add(effect=decision.effect, operation=decision.operation, role=role)
        return {
            "operation_id": decision.operation_id,
            "principal": decision.principal,
            "operation": decision.operation,
            "target": decision.target,
            "effect": decision.effect,
            "decision_code": decision.code,
            "rules": decision.rules,
        }

    def rejected(self, requested: Requested) -> None:
        """Count an operation that this replica recorded as rejected."""
        self._ended.add(outcome="rejected", pool=requested.pool, operation=requested.operation)
        self._outcomes.add(outcome="rejected")

    def opened(self, own: bool) -> None:
        """Count a recorded decision that was opened; `own`: its signature was known."""
        self._opened.add(result="hit" if own else "miss")

    def refused(self, file: str) -> None:
        """Count a file with unusable new content, or a stored version (`store`)."""
        self._refused.add(file=file)

    def in_force(self, snapshot: PolicySnapshot) -> None:
        """Export the name of the policy in force."""
        self._info.set(
            name=snapshot.version.name, version=snapshot.version.version, digest=snapshot.version.digest[:12]
        )
        self._version.set(snapshot.version.number)
        self._rules.set(snapshot.policy.rules)

    def compared(self, *, lost: bool) -> None:
        """Set whether the store lacks a version that was enforced."""
        self._lost.set(float(lost))

    def alarmed(self, kind: SecurityKind) -> None:
        """Count a security event that policy raised."""
        self._security.add(kind=kind)

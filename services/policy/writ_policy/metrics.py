"""What the policy service counts: decisions by effect, operation and role, refused files, the policy in force."""

from writ_contracts.agents import SecurityKind
from writ_contracts.operations import Catalogue
from writ_contracts.registry import CHANNELS, Role
from writ_policy.decisions.rulings import RuledRequest
from writ_policy.state.snapshot import World
from writ_policy.state.sources import FILES
from writ_rules.engine.compile import ROLES
from writ_runtime.metrics import Metrics
from writ_runtime.security_events import security_counter

STORE = "store"
QUESTIONS = [one for one in CHANNELS if Role.POLICY in one.receivers and one.name.startswith("query_")]
EFFECTS = ("allow", "deny", "require_approval")


def metrics() -> Metrics:
    """With the endpoints that this service has."""
    return Metrics(endpoints=("decide", "grant", "scan", *(one.name for one in QUESTIONS)))


class Measures:
    """All of it, in the metrics of the process."""

    def __init__(self, measured: Metrics, catalogue: Catalogue) -> None:
        labels = {"effect": EFFECTS, "operation": tuple(catalogue), "role": ROLES}
        self._decisions = measured.counter("writ_policy_decisions_total", "Decisions made.", labels)
        self._refused = measured.counter(
            "writ_policy_load_errors_total",
            "Changed files, and stored versions of the policy, that could not be used.",
            {"file": (*FILES, STORE)},
        )
        self._security = security_counter(measured)
        self._lost = measured.gauge("writ_policy_versions_lost", "1 while the store lacks a version that was enforced.")
        self._info = measured.info("writ_policy", "The policy in force.")
        self._version = measured.gauge("writ_policy_version", "Number of the version in force; replicas should agree.")
        self._rules = measured.gauge("writ_policy_rules", "Enabled rules of the policy in force.")

    def decided(self, ruled: RuledRequest) -> dict[str, object]:
        """Counts a decision; what the log says of it."""
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

    def refused(self, file: str) -> None:
        """Counts a file whose new content can't be used, or `store` for a version."""
        self._refused.add(file=file)

    def in_force(self, world: World) -> None:
        """Names the policy in force."""
        self._info.set(name=world.version.name, version=world.version.version, digest=world.version.digest[:12])
        self._version.set(world.version.number)
        self._rules.set(world.policy.rules)

    def compared(self, *, lost: bool) -> None:
        """Whether the store of versions lacks what was enforced."""
        self._lost.set(float(lost))

    def alarmed(self, kind: SecurityKind) -> None:
        """Something was found that should not be."""
        self._security.add(kind=kind)

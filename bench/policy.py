"""Decisions in process: 10 to 10,000 rules with the full trace, beside a plain scan of the same rules without one.

Bars: 1,000 rules p50 at most 20 µs, 10,000 rules at most twice that. Both answers are compared before anything is
timed. Rules are drawn over all operations on targets, six target roles and six caller roles, with an integer limit, a
pattern and a time window each.
"""

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from bench.policy_over_nats import over_nats
from bench.timing import Sample
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.inventory import Principal, Target
from writ_contracts.operations import Catalogue, Operation
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.compile import ROLES, Policy, compile_policy
from writ_rules.engine.control import ControlState
from writ_rules.engine.decide import decide
from writ_rules.engine.policy_file.format import Constraint, PolicyDocument, PolicyEntry, RuleEntry, WindowEntry

SIZES = (10, 100, 1_000, 10_000)
CALLERS = ("operator", "developer", "sre", "auditor", "assistant", "release")
QUESTIONS, ROUNDS = 2_000, 5
NOON = 1_795_521_600.0
Row = tuple[int, float, float, float, float]


async def run() -> tuple[list[Row], dict[str, Sample]]:
    """Return by number of rules p50 and p99 in microseconds, p50 of the plain scan, and seconds to load; and the
    figures over NATS.
    """
    return [_measured(size) for size in SIZES], await over_nats()


def table(measured: tuple[list[Row], dict[str, Sample]]) -> str:
    """Return the table as Markdown."""
    rows, samples = measured
    lines = ["| rules | p50 µs | p99 µs | plain scan p50 µs | load s |", "|---|---|---|---|---|"]
    lines += [f"| {size} | {p50:.1f} | {p99:.1f} | {plain:.1f} | {load:.2f} |" for size, p50, p99, plain, load in rows]
    lines += ["", "| one at a time | p50 ms | p99 ms | a second |", "|---|---|---|---|"]
    lines += [f"| {name} | {one.p50:.3f} | {one.p99:.3f} | {one.rate:.0f} |" for name, one in samples.items()]
    return "\n".join(lines)


def _measured(size: int) -> Row:
    chance = random.Random(size)
    catalogue = Catalogue(operation for operation in BUILT_IN if not operation.control)
    rules = [_rule(chance, number, list(catalogue)) for number in range(size)]
    began = time.perf_counter()
    policy, _ = compile_policy(PolicyDocument(policies=PolicyEntry(name="bench", global_policies=[*rules])), catalogue)
    load = time.perf_counter() - began
    if policy is None:
        raise RuntimeError("the drawn policy does not load")
    requests = [_request(chance, catalogue) for _ in range(QUESTIONS)]
    _compare(policy, rules, requests)
    p50, p99 = _timed(lambda request: decide(policy, request, ControlState()).trace, requests)
    plain, _ = _timed(lambda request: plainly(rules, request), requests[: max(20, 200_000 // size)])
    return size, p50, p99, plain, load


def _rule(chance: random.Random, number: int, operations: list[str]) -> RuleEntry:
    limit = {"timeout": Constraint(type="int", max=chance.choice((5, 10, 30, 60)))}
    name = {"service_name": Constraint(type="string", max_length=64, pattern="^[a-zA-Z0-9][a-zA-Z0-9_.-]*$")}
    window = [WindowEntry(start_time="06:00", end_time="22:00", timezone="UTC")]
    return RuleEntry(
        name=f"rule-{number}",
        allowed=chance.random() < 0.9,
        operations=[chance.choice(operations)],
        target_roles=[chance.choice(ROLES)],
        user_roles=[chance.choice(CALLERS)],
        parameter_constraints={**limit, **name},
        time_restrictions=[*window],
        requires_approval=chance.random() < 0.1,
    )


def _request(chance: random.Random, catalogue: Catalogue) -> DecisionRequest:
    names = [name for name in catalogue if name.startswith("service_") or name in ("package_list", "network_status")]
    operation: Operation = catalogue[chance.choice(names)]
    requested: dict[str, Any] = {"timeout": chance.choice((3, 8, 15, 45))}
    if operation.name.startswith("service_"):
        requested["service_name"] = chance.choice(("nginx", "postgresql", "sshd"))
    role: Any = chance.choice(ROLES)
    return DecisionRequest(
        operation=operation,
        target=Target(id="web-1", role=role, backend="local", docker={}),
        principal=Principal(id="alice", kind="human", key="U" + "A" * 55, roles=[chance.choice(CALLERS)]),
        parameters=requested,
        effective=operation.check(requested),
        at=NOON,
    )


def plainly(rules: list[RuleEntry], request: DecisionRequest) -> str:
    """Make the same decision by checking one rule after another, for the kind of rule that is drawn here."""
    effect = "deny"
    for rule in rules:
        if request.operation.name not in rule.operations or request.target.role not in (rule.target_roles or ()):
            continue
        limit = (rule.parameter_constraints or {})["timeout"]
        inside = limit is not None and limit.max is not None and request.effective["timeout"] <= limit.max
        if not inside or set(rule.user_roles or ()).isdisjoint(request.principal.roles):
            continue
        if not rule.allowed:
            return "deny"
        effect = "require_approval" if rule.requires_approval or effect == "require_approval" else "allow"
    return effect


def _compare(policy: Policy, rules: list[RuleEntry], requests: list[DecisionRequest]) -> None:
    for request in requests[:200]:
        ours, other = decide(policy, request, ControlState()).effect, plainly(rules, request)
        if ours != other:
            raise RuntimeError(f"{ours} and {other} for {request}")


def _timed(ask: Callable[[DecisionRequest], object], requests: list[DecisionRequest]) -> tuple[float, float]:
    """Return p50 and p99 of the best round, in microseconds."""
    rounds = []
    for _ in range(ROUNDS):
        times = []
        for request in requests:
            began = time.perf_counter()
            ask(request)
            times.append((time.perf_counter() - began) * 1e6)
        cuts = statistics.quantiles(times, n=100)
        rounds.append((cuts[49], cuts[98]))
    return min(rounds)

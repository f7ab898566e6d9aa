"""Decisions in process by the distinguishing key of rules: teams, target globs, tags, patterns, values, all at once.

Bar: of each shape, 10,000 rules p50 at most three times its 10 rules. Times are CPU time of the thread, the best of
some rounds; `traced` also makes the decision's 40 trace entries. Memory is that of the compiled policy and its file, by
`tracemalloc`, in a separate round.
"""

import random
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.inventory import Principal, Target
from writ_contracts.operations import Catalogue
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.compile import Policy, compile_policy
from writ_rules.engine.control import ControlState
from writ_rules.engine.decide import decide
from writ_rules.engine.policy_file.format import Constraint, PolicyDocument, PolicyEntry, RuleEntry, WindowEntry

SIZES = (10, 1_000, 10_000)
QUESTIONS, ROUNDS, TRACED = 1_000, 3, 40
NOON = 1_795_521_600.0
CATALOGUE = Catalogue(BUILT_IN)
OPERATIONS = ("service_restart", "service_start", "service_stop", "service_status")
CALLERS = ("operator", "sre", "release")
WINDOW = WindowEntry(start_time="06:00", end_time="22:00", timezone="Europe/Berlin")
Keys = dict[str, Any]
Making = Callable[[random.Random, int, int], Keys]


class Row(Struct, frozen=True):
    """The figures of one shape at one size: microseconds, seconds and MB."""

    shape: str
    rules: int
    p50: float
    p99: float
    traced: float
    load: float
    memory: float


def _named(pattern: str) -> Keys:
    return {"parameter_constraints": {"service_name": Constraint(type="string", pattern=pattern)}}


def _all(chance: random.Random, number: int, many: int) -> Keys:
    """Return rules like those of a large installation: a team's own services on its own targets, by day, some with
    approval.
    """
    limits = {"timeout": Constraint(type="int", max=chance.choice((10, 40, 60)))}
    return {
        "user_roles": [f"team-{number % max(1, many // 10)}"],
        "targets": [f"app{number}-*"],
        "time_restrictions": [WINDOW],
        "parameter_constraints": {**_named(f"app{number}-[a-z]+")["parameter_constraints"], **limits},
        "requires_approval": chance.random() < 0.2,
    }


SHAPES: dict[str, Making] = {
    "user_roles": lambda _, number, many: {"user_roles": [f"team-{number % max(1, many // 10)}"]},
    "users": lambda _, number, __: {"users": [f"user-{number}"]},
    "targets: globs": lambda _, number, __: {"targets": [f"app{number}-*"], "user_roles": [*CALLERS]},
    "targets: suffixes": lambda _, number, __: {"targets": [f"*app{number}-0"], "user_roles": [*CALLERS]},
    "targets: parts": lambda _, number, __: {"targets": [f"*app{number}-*"], "user_roles": [*CALLERS]},
    "target_tags": lambda _, number, __: {"target_tags": [f"app-{number}"]},
    "target_attributes": lambda _, number, __: {"target_attributes": {"app": f"app-{number}"}},
    "pattern": lambda _, number, __: _named(f"app{number}-[a-z]+"),
    "pattern: alternatives": lambda _, number, __: _named(f"app{number}|old{number}|app{number}-.*"),
    "pattern: groups": lambda _, number, __: _named(f"(app{number}|old{number})-[a-z]+"),
    "pattern: parts": lambda _, number, __: _named(f".*app{number}-.*"),
    "pattern: any case": lambda _, number, __: _named(f"(?i)app{number}-[a-z]+"),
    "pattern: suffixes": lambda _, number, __: _named(f"[a-z]*app{number}-api"),
    "allowed_values": lambda _, number, __: {
        "parameter_constraints": {"service_name": Constraint(allowed_values=[f"app{number}-api"])}
    },
    "all of them": _all,
}


async def run() -> list[Row]:
    """Measure each shape at each size."""
    return [_measured(shape, size) for shape in SHAPES for size in SIZES]


def table(rows: list[Row]) -> str:
    """Return the table as Markdown, with the ratio to 10 rules of the same shape."""
    base = {row.shape: row.p50 for row in rows if row.rules == SIZES[0]}
    lines = [
        "| differ by | rules | p50 µs | p99 µs | of 10 | traced p50 µs | load s | MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.shape} | {row.rules} | {row.p50:.1f} | {row.p99:.1f} | {row.p50 / base[row.shape]:.1f} "
        f"| {row.traced:.1f} | {row.load:.2f} | {row.memory:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _measured(shape: str, size: int) -> Row:
    began = time.thread_time()
    policy = _policy(shape, size)
    load = time.thread_time() - began
    chance = random.Random(size)
    requests = [_request(chance, size) for _ in range(QUESTIONS)]
    effects = {decide(policy, request, ControlState()).effect for request in requests}
    if "deny" not in effects or len(effects) < 2:
        raise RuntimeError(f"{shape}: the requests show one answer alone: {effects}")
    p50, p99 = _timed(lambda request: decide(policy, request, ControlState()), requests)
    traced, _ = _timed(lambda request: decide(policy, request, ControlState()).rule_trace.first(TRACED), requests)
    return Row(shape, size, p50, p99, traced, load, _memory(shape, size))


def _policy(shape: str, size: int) -> Policy:
    file = PolicyDocument(policies=PolicyEntry(name="bench", global_policies=[*rules(shape, size)]))
    policy, _ = compile_policy(file, CATALOGUE)
    if policy is None:
        raise RuntimeError(f"{shape}: the policy does not load")
    return policy


def rules(shape: str, size: int) -> list[RuleEntry]:
    """Return rules that differ by the clause of this shape; the same ones each time."""
    chance = random.Random(size)
    return [
        RuleEntry(
            **{
                "name": f"rule-{number}",
                "allowed": chance.random() < 0.9,
                "operations": [OPERATIONS[number % len(OPERATIONS)]],
                "target_roles": ["production", "staging"],
                **SHAPES[shape](chance, number, size),
            }
        )
        for number in range(size)
    ]


def _request(chance: random.Random, size: int) -> DecisionRequest:
    """Return a request. Half of the requests are within the scope of a rule."""
    number = chance.randrange(2 * size)
    name = OPERATIONS[number % len(OPERATIONS) if chance.random() < 0.8 else chance.randrange(len(OPERATIONS))]
    operation = CATALOGUE[name]
    requested: dict[str, Any] = {"service_name": f"app{number}-api", "timeout": chance.choice((5, 30, 50))}
    return DecisionRequest(
        operation=operation,
        target=Target(
            id=f"app{number}-{chance.randrange(9)}",
            role=chance.choice(("production", "staging")),
            backend="local",
            docker={},
            tags=["eu", f"app-{number}"],
            attributes={"app": f"app-{number}"},
        ),
        principal=Principal(
            id=f"user-{number}",
            kind="human",
            key="U" + "A" * 55,
            roles=[chance.choice(CALLERS), f"team-{number % max(1, size // 5)}"],
        ),
        parameters=requested,
        effective=operation.check(requested),
        at=NOON,
    )


def _timed(ask: Callable[[DecisionRequest], object], requests: list[DecisionRequest]) -> tuple[float, float]:
    """Return p50 and p99 of the best round, in microseconds."""
    rounds = []
    for _ in range(ROUNDS):
        times = []
        for request in requests:
            began = time.thread_time_ns()
            ask(request)
            times.append((time.thread_time_ns() - began) / 1e3)
        cuts = statistics.quantiles(times, n=100)
        rounds.append((cuts[49], cuts[98]))
    return min(rounds)


def _memory(shape: str, size: int) -> float:
    tracemalloc.start()
    try:
        kept = _policy(shape, size)
        return tracemalloc.get_traced_memory()[0] / 1e6 if kept.rules else 0.0
    finally:
        tracemalloc.stop()

"""What holds for every policy that loads and every request that the catalogue lets through."""

from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.policy.asking import NOON, World, loaded

from writ_policy.engine.decide import STRICTNESS, Ruling
from writ_runtime import yamlfile
from writ_runtime.documents import FileErrors

OPERATIONS = ["service_restart", "service_status", "file_write", "file_delete", "container_create"]
ROLES = ["production", "development", "gateway"]
PEOPLE: list[dict[str, Any]] = [
    {},
    {"id": "bob", "roles": ["sre", "operator"]},
    {"id": "copilot", "kind": "agent", "roles": ["assistant"], "acts_for": "alice"},
    {"id": "pipeline", "kind": "service", "roles": []},
]
PARAMETERS: dict[str, list[dict[str, Any]]] = {
    "service_restart": [{"service_name": "nginx"}, {"service_name": "ssh", "timeout": 200}],
    "service_status": [{"service_name": "nginx", "timeout": 5}],
    "file_write": [
        {"file_path": "/srv/a", "content": "x"},
        {"file_path": "/srv/b\u00e9", "content": "", "mode": "0600"},
    ],
    "file_delete": [{"file_path": "/srv/a"}],
    "container_create": [
        {"container_name": "web", "image": "nginx"},
        {"container_name": "db", "image": "pg", "cpus": 0.5},
    ],
}
CONSTRAINTS = st.fixed_dictionaries(
    {},
    optional={
        "required": st.booleans(),
        "type": st.sampled_from(["string", "int", "float", "bool", "list", "dict"]),
        "min": st.integers(0, 100),
        "max": st.integers(0, 300),
        "min_length": st.integers(0, 5),
        "max_length": st.integers(0, 8),
        "pattern": st.sampled_from(["^[a-z]+$", ".*", "/srv/.*", "(nginx|ssh)"]),
        "allowed_values": st.lists(st.sampled_from(["nginx", "/srv/a", 60, True, None]), max_size=3),
        "denied_values": st.lists(st.sampled_from(["nginx", "/srv/a", 60, True, None]), max_size=3),
        "default": st.sampled_from([5, 60, 200, "nginx", True]),
        "allowlist_source": st.just("list_services"),
    },
)
NAMES = ["service_name", "timeout", "file_path", "content", "container_name", "cpus", "env", "no_such"]
RULES = st.fixed_dictionaries(
    {
        "operations": st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=3, unique=True),
        "allowed": st.booleans(),
    },
    optional={
        "target_roles": st.lists(st.sampled_from(ROLES), min_size=1, unique=True),
        "user_roles": st.lists(st.sampled_from(["operator", "sre", "assistant"]), min_size=1, unique=True),
        "principal_kinds": st.lists(st.sampled_from(["human", "agent"]), min_size=1, unique=True),
        "users": st.lists(st.sampled_from(["alice", "bob"]), min_size=1, unique=True),
        "targets": st.lists(st.sampled_from(["web-1", "web-*", "db-?"]), min_size=1, unique=True),
        "requires_approval": st.booleans(),
        "operation_timeout": st.integers(1, 100),
        "max_concurrent": st.just(1),
        "inherit": st.booleans(),
        "parameter_constraints": st.dictionaries(st.sampled_from(NAMES), CONSTRAINTS, max_size=2),
        "time_restrictions": st.lists(
            st.fixed_dictionaries(
                {"start_time": st.sampled_from(["08:00", "13:00"]), "end_time": st.sampled_from(["12:30", "18:00"])}
            ),
            max_size=2,
        ),
    },
)
POLICIES = st.fixed_dictionaries(
    {
        "deny_by_default": st.booleans(),
        "require_approval_for_admin": st.booleans(),
        "global": st.lists(RULES, max_size=4),
        "gateway": st.lists(RULES, max_size=2),
    }
)


def text_of(policy: dict[str, Any], more: list[dict[str, Any]] | None = None, *, backwards: bool = False) -> str:
    named = [{"name": f"g{number}", **rule} for number, rule in enumerate(policy["global"])]
    gateway = [{"name": f"w{number}", **rule} for number, rule in enumerate(policy["gateway"])]
    named += [{"name": f"more{number}", **rule} for number, rule in enumerate(more or [])]
    if backwards:
        named, gateway = named[::-1], gateway[::-1]
    switches = {key: policy[key] for key in ("deny_by_default", "require_approval_for_admin")}
    sections = {"global_policies": named, "role_policies": {"gateway": gateway}}
    return yamlfile.dump({"policies": {**switches, **sections}})


def world(text: str) -> World:
    try:
        return World(loaded(text, "permissive"))
    except FileErrors:
        assume(False)
        raise


def every_ruling(world: World) -> list[Ruling]:
    return [
        world.ask(operation, role=role, target=target, who=who, now=NOON, **parameters)  # type: ignore[arg-type]
        for operation in OPERATIONS
        for parameters in PARAMETERS[operation]
        for role in ROLES
        for who in PEOPLE
        for target in ({}, {"gateway": "gw-1"})
    ]


def facts(ruling: Ruling) -> tuple[Any, ...]:
    return ruling.effect, ruling.code, ruling.rules, dict(ruling.effective), ruling.timeout, ruling.demands


@settings(max_examples=40, deadline=None)
@given(POLICIES)
def test_a_policy_that_loads_never_raises_and_its_order_does_not_matter(policy: dict[str, Any]) -> None:
    forwards, backwards = world(text_of(policy)), world(text_of(policy, backwards=True))
    assert [facts(one) for one in every_ruling(forwards)] == [facts(one) for one in every_ruling(backwards)]


@settings(max_examples=40, deadline=None)
@given(POLICIES, RULES)
def test_adding_a_deny_never_widens(policy: dict[str, Any], rule: dict[str, Any]) -> None:
    before = every_ruling(world(text_of(policy)))
    after = every_ruling(world(text_of(policy, [{**rule, "allowed": False}])))
    for one, other in zip(before, after, strict=True):
        assert STRICTNESS[other.effect] >= STRICTNESS[one.effect]


@settings(max_examples=40, deadline=None)
@given(POLICIES)
def test_nothing_is_allowed_without_a_rule_that_allows_it_or_a_default_that_is_open(policy: dict[str, Any]) -> None:
    for ruling in every_ruling(world(text_of(policy))):
        if ruling.effect != "deny":
            assert ruling.rules or (not policy["deny_by_default"] and ruling.code != "allowed")
            matched = {entry.rule for entry in ruling.trace if entry.matched}
            assert set(ruling.rules) <= matched
        if ruling.code in ("denied", "rule_error"):
            assert ruling.rules

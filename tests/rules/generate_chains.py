"""Policies by chance in which rules match by defaults of other rules, and about things that a request need not name.

`generate` meets these rarely: of its questions 0.4 % are decided again with defaults, and none more than twice.
"""

from random import Random
from typing import Any

from tests.rules import generate
from tests.rules.generate import Data, some
from tests.rules.small_world import INVENTORY, PARAMETERS, PEOPLE, REQUIRED

NAMELESS: dict[str, dict[str, list[Any]]] = {
    "package_update": {"package_name": ["nginx", "ssh"], "timeout": [60, 300]},
}
CHAINED = {name: PARAMETERS[name] for name in ("container_create", "network_scan", "package_install", "file_write")}
KNOWN = CHAINED | NAMELESS
ODD = (10_000, "", True, 0.5, [1], "nginx")
SECTIONS = ("global", "global", "global", "global", "gateway", "emergency")


def optional(operation: str) -> dict[str, list[Any]]:
    """Return the parameters that a request may leave out, with values of each."""
    return {name: values for name, values in KNOWN[operation].items() if operation in NAMELESS or name not in REQUIRED}


def clause(r: Random, values: list[Any], usual: Any) -> Data:
    """Return a constraint which mostly holds for the usual value, and rarely is of another kind."""
    kind = r.random()
    if kind < 0.08:
        return r.choice(({"min": 5}, {"min_length": 1}, {"pattern": "[a-z0-9.]+"}, {"allowed_values": ["x", 1]}))
    if kind < 0.18 or isinstance(usual, dict):
        return {"type": generate.WORDS[type(usual)]}
    if isinstance(usual, list):
        return {"allowed_items": some(r, [*usual, "x", 22, True])}
    if isinstance(usual, int | float) and not isinstance(usual, bool) and kind < 0.5:
        return {r.choice(("min", "max")): usual}
    listed = "allowed_values" if r.random() < 0.93 else "denied_values"
    return {listed: [usual] if r.random() < 0.8 else some(r, values)}


def rule(r: Random, name: str, operation: str, usual: Data, names: list[str], *, first: bool) -> Data:
    """Return a rule that matches where one parameter has its usual value, and fills in the other one's."""
    allowed = first or r.random() < 0.85
    limits: Data = {}
    if not first or r.random() < 0.2:
        limits[names[0]] = clause(r, optional(operation)[names[0]], usual[names[0]]) | (
            {"required": True} if r.random() < 0.8 else {}
        )
    if allowed and (filled := names[-1]) not in limits:
        default = usual[filled] if r.random() < 0.93 else r.choice((*optional(operation)[filled], *ODD))
        limits[filled] = {"default": default}
    found: Data = {"name": name, "operations": [operation], "allowed": allowed, "parameter_constraints": limits}
    keys: list[tuple[str, float, Any]] = [
        ("operation_timeout", 0.3, lambda: r.choice((3, 30, 100))),
        ("requires_approval", 0.1, lambda: True),
        ("approval", 0.1, lambda: generate.approval(r)),
        ("max_targets", 0.1, lambda: 2),
        ("users", 0.05, lambda: some(r, PEOPLE, 4)),
        ("emergency_overridable", 0.2, lambda: True),
        ("inherit", 0.2, lambda: r.random() < 0.5),
    ]
    found |= {key: value() for key, chance, value in keys if r.random() < chance}
    return generate.without_items(found)


def policy(r: Random) -> Data:
    """Return a policy about one operation, whose rules mostly agree on the defaults."""
    operation = r.choice(list(KNOWN))
    usual = {name: r.choice(values) for name, values in optional(operation).items() if name != "allow_privileged"}
    sections: dict[str, list[Data]] = {"global": [], "gateway": [], "emergency": []}
    order = r.sample(list(usual), len(usual))
    for number in range(r.randint(2, 7)):
        at = number if r.random() < 0.85 else r.randrange(len(order))
        names = [order[at % len(order)], order[(at + 1) % len(order)]]
        section = r.choice(SECTIONS) if number else "global"
        sections[section].append(rule(r, f"r{number}", operation, usual, names, first=number == 0))
    found: Data = {"name": "chained", "global_policies": sections["global"]}
    found["role_policies"] = {"gateway": sections["gateway"]}
    found["emergency_policies"] = sections["emergency"]
    found |= {key: False for key in ("deny_by_default", "require_approval_for_admin") if r.random() < 0.3}
    return {"policies": found}


def question(r: Random, about: Data) -> Data:
    """Return a question about the operation of the policy that leaves most of its parameters to the rules."""
    sections = about["policies"]
    rules = [*sections["global_policies"], *sections["role_policies"]["gateway"], *sections["emergency_policies"]]
    operation = rules[0]["operations"][0]
    may_lack = optional(operation)
    given = {
        name: r.choice(values) for name, values in KNOWN[operation].items() if name not in may_lack or r.random() < 0.15
    }
    asked = generate.question(r, {"policies": {"global_policies": []}})
    target = r.choice(INVENTORY["targets"])["id"]
    return {**asked, "operation": operation, "target": target, "parameters": given, "own": False}

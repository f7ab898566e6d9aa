"""A loaded policy decides every request that the catalogue's schemas accept: it never raises."""

import re
from collections import Counter
from random import Random
from typing import Any

import pytest
from tests.rules import generate
from tests.rules.asking import CATALOGUE
from tests.rules.deciding import CALLERS, PEOPLE, TARGETS, compiled

from writ_contracts.errors import Invalid
from writ_contracts.operations import Operation
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.control import ControlState
from writ_rules.engine.decide import decide
from writ_rules.engine.facts import Facts, TargetListing

Data = dict[str, Any]
SEEDS = 12
"""Policies for each operation."""
ANY: dict[str, list[Any]] = {
    "type": ["string", "int", "float", "bool", "list", "dict"],
    "required": [True, False],
    "min": [-1, 0, 0.5, 2**63],
    "max": [0, 60.5, 2**64 - 1, -(2**63)],
    "min_length": [0, 1, 10**9],
    "max_length": [0, 3, 10**9],
    "pattern": [".*", "", "[^\\n]+", "(?s).+", "\\x{1F600}?", "\\pL*"],
    "allowed_values": [[], [None], [1, "nginx", True, 0.5]],
    "denied_values": [[], [None], [1, "nginx", False, 0.5]],
    "allowed_items": [[], [None], ["x", 22, "10.0.0.0/24"]],
    "required_items": [[], [None], ["x", 22, "10.0.0.0/24"]],
    "default": [5, "nginx", True, 0.5, ["x"], {"A": "1"}, None],
    "allowlist_source": ["list_services", "list_ports", "list_file_roots", "list_nothing"],
}
WORDS = [
    "nginx",
    "web-1",
    "a",
    "Z",
    "7",
    "1.2",
    "0644",
    "/srv/a",
    "/",
    "/\u00e9\U0001f600",
    "10.0.0.0/24",
    "pg:16",
    "22",
    "[::1]:80:80/udp",
]
WORDS += [
    "vol:/data:ro",
    "/dev/kvm",
    "NET_ADMIN",
    "scsi0",
    "UPID:pve1:0001A2B3:0123ABCD:65F0A1B2:qmstart:100:root@pam!writ:",
    "A_B",
    "*",
    "a" * 26,
    "01" * 32,
    "sha256:" + "0f" * 32,
    "U" + "A" * 55,
    "example.org",
    "db\u00fc",
    "no\nend",
]
MOMENTS = [0.0, -1.0, 1.5, 1_774_746_000.0, 1_795_521_600.0, 4_102_444_800.0, -62_135_596_800.0, 253_402_300_799.0]


def value(r: Random, schema: Data, defs: Data) -> Any:  # noqa: C901 - one case for each word of the schema
    """Return an instance of a JSON Schema in msgspec's vocabulary, often at its edges."""
    if "$ref" in schema:
        return value(r, defs[schema["$ref"].rpartition("/")[2]], defs)
    if "anyOf" in schema:
        return value(r, r.choice(schema["anyOf"]), defs)
    if "enum" in schema:
        return r.choice(schema["enum"])
    match schema.get("type"):
        case "null":
            return None
        case "boolean":
            return r.random() < 0.5
        case "integer":
            least, most = schema.get("minimum", -(2**63)), schema.get("maximum", 2**64 - 1)
            return r.choice((least, most, r.randint(least, min(most, least + 100))))
        case "number":
            most = schema.get("maximum", 1e300)
            return r.choice((most, r.uniform(0.001, most), 1))
        case "string":
            return text(r, schema)
        case "array":
            size = max(schema.get("minItems", 0), min(schema.get("maxItems", 3), r.randint(0, 3)))
            return [value(r, schema.get("items", {}), defs) for _ in range(size)]
        case "object" if "properties" in schema:
            needed = schema.get("required", ())
            fields = {name: each for name, each in schema["properties"].items() if name in needed or r.random() < 0.5}
            return {name: value(r, each, defs) for name, each in fields.items()}
        case "object":
            return {name: value(r, schema["additionalProperties"], defs) for name in ("A", "B_C")[: r.randint(0, 2)]}
    return r.choice((None, True, 5, "x"))


def text(r: Random, schema: Data) -> str:
    most = schema.get("maxLength", 1000)
    if "pattern" not in schema:
        return r.choice(("", "x", "\u00e9\n\x00\U0001f600", "y" * min(most, 2000)))[:most] or "z" * schema.get(
            "minLength", 0
        )
    fitting = [word for word in WORDS if re.search(schema["pattern"], word) and len(word) <= most]
    assert fitting, f"no word fits {schema['pattern']}: add one"
    return r.choice(fitting)


def constraints(r: Random, operation: Operation) -> Data:
    """Checks of all kinds, whether or not they suit the parameter."""
    names = generate.some(r, operation.parameters.__struct_fields__)
    return {name: {key: r.choice(ANY[key]) for key in generate.some(r, ANY, 4)} for name in names}


def policy(r: Random, operation: Operation) -> Data:
    file = generate.policy(r)
    rules = [
        generate.without_items(
            generate.rule(r, f"x{number}", section="global")
            | {"operations": [operation.name], "parameter_constraints": constraints(r, operation)}
        )
        for number in range(4)
    ]
    file["policies"]["global_policies"] = rules
    return file


def drawn(r: Random, operation: Operation, schema: Data) -> tuple[Data, Data]:
    """Return parameters and their normal form.

    The catalogue refuses some that fit the schema: "add needs kind and key".
    """
    for _ in range(500):
        supplied = value(r, schema, schema["$defs"])
        try:
            return supplied, operation.check(supplied)
        except Invalid:
            continue
    raise AssertionError(f"nothing that was drawn is a valid {operation.name}")


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_request_that_fits_its_schema_is_decided(name: str) -> None:
    operation, decided = CATALOGUE[name], Counter[str]()
    schema = operation.schema()
    for seed in range(SEEDS):
        r = Random(seed)
        found = compiled(policy(r, operation))
        if found is None:
            decided["refused"] += 1
            continue
        supplied, effective = drawn(r, operation, schema)
        at = r.choice(MOMENTS)
        listing = TargetListing("list_services", frozenset({"nginx"}), at)
        for target in TARGETS.values():
            request = DecisionRequest(
                operation=operation,
                target=target,
                principal=r.choice([*CALLERS.values()]),
                parameters={parameter: effective[parameter] for parameter in supplied if parameter in effective},
                effective=effective,
                at=at,
                approvals=("bob", "nobody", ""),
                emergency=r.choice((True, False, None)),
            )
            ruling = decide(found, request, ControlState(), PEOPLE, Facts({"list_services": listing}, {}))
            assert ruling.reason
            decided[ruling.effect] += 1
    assert decided["deny"] > SEEDS * 5 / 6, decided
    assert decided["refused"] < SEEDS * 2 / 3, decided

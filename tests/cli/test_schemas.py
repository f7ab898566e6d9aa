"""`writ schema`: JSON Schemas by which an independent validator accepts all shipped documents, and refuses mistakes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from docs.generate.inventory_keys import MEANINGS, PLACES
from msgspec.structs import fields

from writ_cli.main import cli
from writ_cli.schema import NAMES
from writ_documents import yaml_file

ROOT = Path(__file__).parents[2]
POLICIES = (
    ROOT / "policies",
    ROOT / "libs/cli/writ_cli/policy/templates",
    ROOT / "libs/installation/writ_installation",
)
SSH = {"id": "a", "role": "production", "backend": "ssh", "connection": {"host": "h", "user": "root"}}
RULE = {"name": "a", "allowed": True, "operations": ["service_restart"]}
CASE = {"name": "c", "callers": ["a"], "targets": ["t"], "operations": ["o"], "decision": "allow"}
KEY = "U" + "A" * 55
BROKEN: dict[str, list[Any]] = {
    "inventory": [
        {},
        {"target": []},
        {"targets": [{**SSH, "role": "prod"}]},
        {"targets": [{**SSH, "id": "a b"}]},
        {"targets": [{**SSH, "conection": {}}]},
        {"targets": [{**SSH, "connection": {"host": "h"}}]},
        {"targets": [{**SSH, "connection": {"host": "h", "user": "root", "port": 0}}]},
        {"targets": [{**SSH, "backend": "proxmox"}]},
        {"targets": [{**SSH, "backend": "docker", "connection": {"socket": "relative"}}]},
        {"targets": [{**SSH, "docker": {"sock": "/run/docker.sock"}}]},
        {"targets": [{**SSH, "backup": {"repository": "/r"}}]},
        {"targets": [{**SSH, "file_roots": [{"path": "relative"}]}]},
    ],
    "principals": [
        {"principals": {}},
        {"principals": [{"id": "a", "kind": "robot", "key": KEY}]},
        {"principals": [{"id": "a", "kind": "human"}]},
        {"principals": [{"id": "a", "kind": "human", "key": KEY, "role": ["x"]}]},
    ],
    "policy": [
        {"name": "x"},
        {"policies": {"nme": "x"}},
        {"policies": {"global_policies": [{**RULE, "allowed": "yes"}]}},
        {"policies": {"global_policies": [{**RULE, "operations": "service_restart"}]}},
        {"policies": {"global_policies": [{**RULE, "approval": {"quorum": 0}}]}},
        {"policies": {"role_policies": {"prod": [RULE]}}},
        {"policies": {"list_by_rules": ["robot"]}},
    ],
    "suite": [
        {"policy": "p", "inventory": "i", "principals": "p", "now": "n", "cases": []},
        {"policy": "p", "inventory": "i", "principals": "p", "now": "n", "cases": [{**CASE, "decision": "maybe"}]},
        {"policy": "p", "inventory": "i", "principals": "p", "now": "n", "cases": [{**CASE, "caller": "a"}]},
    ],
}


def validator(name: str) -> jsonschema.Draft202012Validator:
    shown = CliRunner().invoke(cli, ["schema", name])
    assert shown.exit_code == 0, shown.output
    schema = json.loads(shown.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def shipped(name: str) -> Iterator[Path]:
    if name in ("inventory", "principals"):
        yield ROOT / f"policies/examples/{name}.yaml"
        return
    for folder in POLICIES:
        yield from (path for path in folder.glob("*.yaml") if path.stem.endswith("_test") == (name == "suite"))


@pytest.mark.parametrize("name", NAMES)
def test_schema_accepts_every_shipped_document(name: str) -> None:
    schema, paths = validator(name), list(shipped(name))
    assert paths
    for path in paths:
        assert [error.message for error in schema.iter_errors(yaml_file.read(path).data)] == [], path


@pytest.mark.parametrize("name", NAMES)
def test_schema_refuses_mistakes(name: str) -> None:
    schema = validator(name)
    assert [each for each in BROKEN[name] if schema.is_valid(each)] == []


def test_schema_accepts_the_sections_of_a_backend() -> None:
    docker = {
        **SSH,
        "docker": {"socket": "/run/podman/podman.sock"},
        "backup": {"repository": "/r", "password_file": "/p"},
    }
    proxmox = {**SSH, "backend": "proxmox", "connection": {"host": "pve"}, "backup": {"storage": "local"}}
    plugin = {**SSH, "backend": "example", "connection": {"anything": 1}}
    assert validator("inventory").is_valid({"targets": [SSH, docker, proxmox, plugin]})


def test_reference_explains_every_key_with_an_example() -> None:
    """A new key is described in docs/generate/inventory_keys.py."""
    for _, kind, place in PLACES:
        known = {name for name, (_, example) in MEANINGS[place].items() if example}
        assert {field.encode_name for field in fields(kind)} == known, kind

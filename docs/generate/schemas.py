"""The JSON Schemas (2020-12) of the documents that people write: `writ schema NAME`, for editors and pre-commit."""

import json
from collections.abc import Callable
from typing import Any, get_args

import msgspec
from msgspec import Struct

from docs.generate.docstrings import evened
from docs.generate.inventory_keys import MEANINGS
from writ_agent_proxmox import settings as proxmox
from writ_agent_ssh import settings as ssh
from writ_containers.engine import connection as docker
from writ_contracts.inventory import BackupRepository, Inventory, Principals, Role
from writ_rules.engine.policy_file.format import PolicyDocument
from writ_rules.suites import SuiteEntry

FOLDER = "libs/cli/writ_cli/schemas"
Data = dict[str, Any]
SECTIONS: dict[str, dict[str, tuple[type[Struct], str]]] = {
    "local": {"backup": (BackupRepository, "backup"), "docker": (docker.EngineAddress, "engine")},
    "ssh": {
        "connection": (ssh.SshConnection, "ssh"),
        "backup": (BackupRepository, "backup"),
        "docker": (docker.EngineAddress, "engine"),
    },
    "docker": {"connection": (docker.EngineConnection, "docker")},
    "proxmox": {"connection": (proxmox.ProxmoxConnection, "proxmox"), "backup": (proxmox.BackupStorage, "vzdump")},
}
"""The sections of a target that the inventory leaves to its backend."""


def inventory() -> str:
    """Return the schema of inventory.yaml, with the sections that depend on the backend."""
    schema = _schema("inventory", Inventory)
    target = schema["$defs"]["Target"]
    _describe(target, MEANINGS["target"])
    _describe(schema["$defs"]["FileRoot"], MEANINGS["file_root"])
    target["allOf"] = []
    for backend, sections in SECTIONS.items():
        properties: Data = {}
        for key, (kind, place) in sections.items():
            name = f"{backend}_{key}"
            properties[key] = (
                {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]}
                if key == "docker"
                else {"$ref": f"#/$defs/{name}"}
            )
            schema["$defs"] |= _section(name, kind, MEANINGS[place])
        condition = {"properties": {"backend": {"const": backend}}, "required": ["backend"]}
        target["allOf"].append({"if": condition, "then": {"properties": properties}})
    return _text(schema)


def principals() -> str:
    """Return the schema of principals.yaml."""
    schema = _schema("principals", Principals)
    _describe(schema["$defs"]["Principal"], MEANINGS["principal"])
    return _text(schema)


def policy() -> str:
    """Return the schema of a policy."""
    schema = _schema("policy", PolicyDocument)
    sections = schema["$defs"]["PolicyEntry"]["properties"]["role_policies"]["anyOf"]
    for section in sections:
        if section.get("type") == "object":  # msgspec leaves out what the keys of a mapping may be
            section["propertyNames"] = {"enum": list(get_args(Role))}
    return _text(schema)


def suite() -> str:
    """Return the schema of a suite of cases."""
    return _text(_schema("suite", SuiteEntry))


def documents() -> dict[str, Callable[[], str]]:
    """Return the maker of each file."""
    made = (inventory, principals, policy, suite)
    return {f"{FOLDER}/{make.__name__}.json": make for make in made}


def _schema(name: str, kind: type[Struct]) -> Data:
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"Writ: {name}"}
    return {**head, **msgspec.json.schema(kind)}


def _section(name: str, kind: type[Struct], meanings: dict[str, tuple[str, str]]) -> Data:
    (reference,), parts = msgspec.json.schema_components([kind], ref_template=f"#/$defs/{name}.{{name}}")
    top = reference["$ref"].rpartition(".")[2]
    _describe(parts[top], meanings)
    found = {f"{name}.{part}": schema for part, schema in parts.items()}
    return {**found, name: {"$ref": f"#/$defs/{name}.{top}"}}


def _describe(schema: Data, meanings: dict[str, tuple[str, str]]) -> None:
    for key, property_schema in schema["properties"].items():
        meaning = meanings.get(key, ("", ""))[0]
        if meaning:
            property_schema["description"] = meaning


def _text(schema: Data) -> str:
    return json.dumps(evened(schema), indent=2, ensure_ascii=False) + "\n"

"""Check changed values of a target before they are written: names that nothing knows, and the keys of each backend.

The reader of the inventory accepts any backend and any connection, since plugins have their own. A misspelt one would
show later, as a target without agents or operations. The bundled JSON Schema has the keys of the built-in backends.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any

import click
import msgspec

from writ_cli.context.settings import Settings
from writ_cli.installation.targets.schema_mistakes import mistakes
from writ_cli.terminal.output import visible
from writ_contracts.backends import LOCAL
from writ_contracts.errors import Invalid
from writ_contracts.inventory import WRIT
from writ_contracts.nearest_name import near
from writ_documents.readers import read_agents, read_inventory
from writ_installation.administration.targets import refuse_relative
from writ_installation.backends import AGENT_KINDS
from writ_runtime.plugins.entry_points import load_catalogue

PARTS = ("connection", "backup", "docker")
LOCAL_CONNECTION = {"type": "object", "properties": {"host": {"type": "string"}}, "additionalProperties": False}


def check_values(settings: Settings, backend: str, values: Mapping[str, Any]) -> None:
    """Raises Invalid for a value that names nothing known, or does not fit the backend. `values`: the changed keys."""
    if "backend" in values:
        _check_backend(settings, backend)
    _check_capabilities(values.get("capabilities"))
    if isinstance(roots := values.get("file_roots"), list):
        refuse_relative([root for root in roots if isinstance(root, str)])
    for part in PARTS:
        if isinstance(value := values.get(part), dict):
            _check_part(backend, part, value)
    if pool := values.get("agent"):
        _warn_of_new_pool(settings, str(pool))


def _check_backend(settings: Settings, backend: str) -> None:
    listed = {target.backend for target in read_inventory(settings.home.inventory).targets}
    offered = {name for operation in load_catalogue().values() for name in operation.backends}
    if backend not in (known := {*AGENT_KINDS, *listed, *offered} - {WRIT.backend}):
        hint = near(backend, known) or f"; there are {', '.join(sorted(known))}."
        raise Invalid(f"no operation has backend {backend[:80]!r}{hint} The package of a plugin must be installed here")


def _check_capabilities(value: Any) -> None:
    names = list(load_catalogue()) if isinstance(value, list) else []
    for item in value if isinstance(value, list) else ():
        if isinstance(item, str) and not any(fnmatchcase(name, item) for name in names):
            raise Invalid(f"capabilities: no operation is named {item[:80]!r}{near(item, names)}")


def _warn_of_new_pool(settings: Settings, pool: str) -> None:
    pools = {target.pool for target in read_inventory(settings.home.inventory).targets}
    if settings.home.agents.exists():
        pools.update(agent.pool for agent in read_agents(settings.home.agents).agents)
    if pool not in pools:
        hint = near(pool, pools) or "."
        text = f"writ: pool {pool!r} is new, and no agent serves it{hint} Enrol one: writ agent token {pool}"
        click.echo(visible(text), err=True)


def _check_part(backend: str, part: str, value: dict[str, Any]) -> None:
    schemas = msgspec.json.decode(files("writ_cli").joinpath("schemas", "inventory.json").read_bytes())["$defs"]
    local = LOCAL_CONNECTION if (backend, part) == (LOCAL, "connection") else None
    schema = schemas.get(f"{backend}_{part}", local)
    if schema is not None and (found := list(mistakes(part, value, schema, schemas))):
        raise Invalid("; ".join(found))

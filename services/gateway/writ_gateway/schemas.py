"""JSON Schemas of msgspec structs as MCP clients take them, and arguments decoded by the same structs.

Clients differ in how much of JSON Schema they read: these have no `$ref` and no `title`.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_contracts.parameter_problems import BETWEEN
from writ_contracts.parameters import problems

Decoded = TypeVar("Decoded", bound=Struct)
Schema = dict[str, Any]


class Arguments(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the arguments of every tool."""


def input_schema(struct: type[Struct]) -> Schema:
    """Return the schema of a tool's arguments. An optional argument is left out, rather than null."""
    return _object(struct, drop_null=True)


def output_schema(struct: type[Struct]) -> Schema:
    """Return the schema of a part of a result."""
    return _object(struct, drop_null=False)


def _object(struct: type[Struct], *, drop_null: bool) -> Schema:
    whole = msgspec.json.schema(struct)
    inlined = _inlined(whole, whole.get("$defs", {}), drop_null)
    inlined.pop("description", None)
    inlined.setdefault("properties", {})
    return {key: value for key, value in inlined.items() if key != "$defs" and not (key == "required" and not value)}


def _inlined(node: Any, definitions: Mapping[str, Any], drop_null: bool) -> Any:
    if isinstance(node, list):
        return [_inlined(item, definitions, drop_null) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(definitions[node["$ref"].rpartition("/")[2]], definitions, drop_null)
    kept = {key: _keyword(key, value, definitions, drop_null) for key, value in node.items() if key != "$defs"}
    if "properties" in kept:
        kept.pop("title", None)
    return _without_null(kept) if drop_null else kept


def _keyword(key: str, value: Any, definitions: Mapping[str, Any], drop_null: bool) -> Any:
    if key == "properties":
        return {name: _inlined(part, definitions, drop_null) for name, part in value.items()}
    return value if key in ("default", "enum", "const") else _inlined(value, definitions, drop_null)


def _without_null(node: Schema) -> Schema:
    choices = [part for part in node.get("anyOf", ()) if part != {"type": "null"}]
    if node.get("default", ...) is None:
        node = {key: value for key, value in node.items() if key != "default"}
    if len(choices) == 1 and len(node["anyOf"]) == 2:
        return {**choices[0], **{key: value for key, value in node.items() if key != "anyOf"}}
    return node


def slim(schema: Schema) -> Schema:
    """Return the schema without patterns, lengths and defaults: a model reads the tool list with each request."""
    return {
        key: {name: slim(part) for name, part in value.items()} if key == "properties" else value
        for key, value in schema.items()
        if key not in ("pattern", "minLength", "maxLength", "default")
    }


def decode(struct: type[Decoded], arguments: Mapping[str, Any]) -> Decoded:
    """Return the arguments. Raises Invalid (`invalid_parameters`) with all mistakes: names of fields, no values."""
    if found := problems(struct, arguments):
        raise Invalid(f"arguments: {BETWEEN.join(found)}"[:1000], code="invalid_parameters")
    return msgspec.convert(dict(arguments), struct, strict=True)

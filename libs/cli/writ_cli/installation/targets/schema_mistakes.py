"""Find where a value does not fit a JSON Schema made from a struct, with the nearest known key.

Only the words are read that `writ schema` writes for a connection, a backup or an engine. Missing keys are no mistake
here: the next command may set them.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from writ_contracts.nearest_name import near

Schema = Mapping[str, Any]
JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
IN_WORDS: Mapping[str, str] = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


def mistakes(path: str, value: Any, schema: Schema, definitions: Mapping[str, Schema]) -> Iterator[str]:
    """Yield each mistake with its path. `definitions`: the schemas that `$ref` names."""
    schema = _resolved(value, schema, definitions)
    if "enum" in schema:
        if value not in schema["enum"]:
            expected = ", ".join(map(str, schema["enum"]))
            yield f"{path}: {value!r} is none of {expected}{near(str(value), map(str, schema['enum']))}"
    elif not _is_of_type(value, schema.get("type")):
        yield f"{path}: expected {IN_WORDS[schema['type']]}, got {value!r}"
    elif isinstance(value, dict):
        yield from _in_mapping(path, value, schema, definitions)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from mistakes(f"{path}[{at}]", item, schema.get("items", {}), definitions)
    elif isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{path}: {value!r} is not a valid value"
    elif _is_out_of_range(value, schema):
        yield f"{path}: {value!r} is not from {_least(schema)} to {schema.get('maximum')}"


def _resolved(value: Any, schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Return the schema behind references; of several, the one for the type of the value."""
    while "$ref" in schema or "anyOf" in schema:
        if "$ref" in schema:
            schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
        else:
            fitting = [one for one in schema["anyOf"] if _is_alternative(value, one)]
            schema = [*fitting, *schema["anyOf"]][0]
    return schema


def _is_alternative(value: Any, schema: Schema) -> bool:
    if "enum" in schema:
        return isinstance(value, type(schema["enum"][0]))
    return _is_of_type(value, "object" if "$ref" in schema else schema.get("type"))


def _is_of_type(value: Any, name: str | None) -> bool:
    if isinstance(value, bool):
        return name in (None, "boolean")
    return name is None or isinstance(value, JSON_TYPES[name])


def _in_mapping(
    path: str, value: Mapping[str, Any], schema: Schema, definitions: Mapping[str, Schema]
) -> Iterator[str]:
    known = schema.get("properties", {})
    for key, inner in value.items():
        if key in known:
            yield from mistakes(f"{path}.{key}", inner, known[key], definitions)
        elif schema.get("additionalProperties") is False:
            yield f"{path}: unknown key {key!r}{near(str(key), known)}"


def _least(schema: Schema) -> float | None:
    least: float | None = schema.get("minimum", schema.get("exclusiveMinimum"))
    return least


def _is_out_of_range(value: Any, schema: Schema) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    least, most = _least(schema), schema.get("maximum")
    too_small = least is not None and (value < least or value == schema.get("exclusiveMinimum"))
    return too_small or (most is not None and value > most)

"""Tools for finding operations and targets."""

from typing import Annotated, Any

from msgspec import Meta

from writ_contracts.errors import Invalid
from writ_contracts.ids import OperationName, TargetId
from writ_contracts.inventory import Role
from writ_contracts.nearest_name import near
from writ_contracts.operations import Operation
from writ_contracts.parameters import classes
from writ_gateway.client import unknown_operation
from writ_gateway.results import shape
from writ_gateway.schemas import Arguments, Schema, input_schema, output_schema
from writ_gateway.session import ToolCall
from writ_gateway.tool import Result, Tool, tool


class SearchArguments(Arguments, frozen=True, kw_only=True):
    """Words of the operation's name or summary, and a target offering it."""

    query: Annotated[str, Meta(max_length=200)] = ""
    target_id: TargetId | None = None


class DescribeArguments(Arguments, frozen=True, kw_only=True):
    """The operation to describe."""

    operation_type: OperationName


class TargetListArguments(Arguments, frozen=True, kw_only=True):
    """Which targets. `after`: those behind this one, in the order of their ids."""

    target_role: Role | None = None
    tag: Annotated[str, Meta(max_length=255)] | None = None
    after: TargetId | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


MOST_NAMED = 10
"""Roles or tags that a hint lists."""
LEAST_LETTERS = 3
"""Shorter words, such as `on` and `a`, tell nothing about an operation."""


async def search(call: ToolCall, arguments: SearchArguments) -> Result:
    """Return the permitted operations with all words, within the limits of the caller's token.

    Where none has all, return those with most of the words, and a hint: agents search for `restart nginx`.
    """
    permitted = await call.session.permitted()
    if arguments.target_id is not None:
        call.session.writ.check_targets(arguments.target_id)
        offered = await _offered(call, arguments.target_id)
        permitted = [one for one in permitted if one.name in offered]
    words = arguments.query.lower().replace("_", " ").split()
    found = [one for one in permitted if all(word in _words(one) for word in words)]
    if found or not permitted:
        return {"operations": [_row(one) for one in found]}
    return _with_some(permitted, words)


def _with_some(permitted: list[Operation], words: list[str]) -> Result:
    """Return the operations with most of the words. A word counts where one of the operation's words begins so."""
    counts = [sum(_begins(word, one) for word in words if len(word) >= LEAST_LETTERS) for one in permitted]
    most = max(counts, default=0)
    if most == 0:
        hint = f"none has any of the words; an empty query lists all {len(permitted)} that you may request"
        return {"operations": [], "hint": hint}
    found = [one for one, count in zip(permitted, counts, strict=True) if count == most]
    return {"operations": [_row(one) for one in found], "hint": "none has all of the words; these have some"}


def _begins(word: str, operation: Operation) -> bool:
    return any(each.startswith(word.removesuffix("s")) for each in _words(operation).split())


async def _offered(call: ToolCall, target_id: str) -> set[str]:
    for target in await call.session.writ.targets():
        if target.id == target_id:
            return set(target.operations)
    raise Invalid(f"target_id: there is no target {target_id!r}; list_targets lists them", code="unknown_target")


def _words(operation: Operation) -> str:
    return f"{operation.name.replace('_', ' ')} {operation.summary}".lower()


def _row(operation: Operation) -> Result:
    schema = input_schema(operation.parameters)
    required = schema.get("required", [])
    names = [name if name in required else f"{name}?" for name in schema["properties"]]
    return {
        "operation_type": operation.name,
        "summary": operation.summary,
        "risk": str(operation.risk),
        "parameters": ", ".join(names),
    }


async def describe(call: ToolCall, arguments: DescribeArguments) -> Result:
    """Return one operation with its schemas."""
    operation = call.session.catalogue.get(arguments.operation_type)
    if operation is None or operation.control:
        raise unknown_operation(arguments.operation_type, call.session.catalogue)
    return {
        **_row(operation),
        "parameters": input_schema(operation.parameters),
        "classes": {name: str(value) for name, value in classes(operation.parameters).items()},
        "output": output_schema(operation.output),
        "backends": list(operation.backends),
        "idempotent": operation.idempotent,
        "preview": operation.preview,
    }


async def targets(call: ToolCall, arguments: TargetListArguments) -> Result:
    """Return one page of the inventory, with a hint for a role or tag that no listed target has."""
    listed = await call.session.writ.targets()
    fitting = [
        one
        for one in listed
        if (arguments.target_role in (None, one.role)) and (arguments.tag is None or arguments.tag in one.tags)
    ]
    rest = [one for one in fitting if arguments.after is None or one.id > arguments.after]
    rows: list[Any] = [
        {"target_id": one.id, "target_role": one.role, "backend": one.backend, "tags": one.tags, "agents": one.agents}
        for one in rest[: arguments.limit]
    ]
    found = {"targets": rows, "more": len(rest) > arguments.limit, "total": len(fitting)}
    hints = [
        _without("role", arguments.target_role, {one.role for one in listed}),
        _without("tag", arguments.tag, {tag for one in listed for tag in one.tags}),
    ]
    return {**found, "hint": "; ".join(filter(None, hints))} if any(hints) else found


def _without(noun: str, name: str | None, known: set[str]) -> str:
    """Return that no target has this role or tag; nothing where one has it, or none was given."""
    if name is None or name in known:
        return ""
    others = sorted(known)[:MOST_NAMED]
    others_named = f"; those that you may list have {', '.join(others)}" if others else ""
    return f"no target that you may list has the {noun} {name!r}{near(name, known) or others_named}"


_OBJECTS = {"type": "array", "items": {"type": "object"}}


_LISTED: dict[str, Schema] = {
    "targets": _OBJECTS,
    "more": {"type": "boolean"},
    "total": {"type": "integer"},
    "hint": {"type": "string"},
}
_DESCRIBED: dict[str, Schema] = {
    "operation_type": {"type": "string"},
    "summary": {"type": "string"},
    "risk": {"enum": ["read", "change", "admin"]},
    "parameters": {"type": "object"},
    "classes": {"type": "object"},
    "output": {"type": "object"},
    "backends": {"type": "array", "items": {"type": "string"}},
    "idempotent": {"type": "boolean"},
    "preview": {"type": "boolean"},
}
TOOLS: tuple[Tool, ...] = (
    tool(
        "search_operations",
        "Search operations",
        "Operations that you may request, by words, and by a target that has them.",
        SearchArguments,
        search,
        shape({"operations": _OBJECTS, "hint": {"type": "string"}}),
        small=True,
    ),
    tool(
        "describe_operation",
        "Describe an operation",
        "Parameters and output of an operation.",
        DescribeArguments,
        describe,
        shape(_DESCRIBED),
        small=True,
    ),
    tool(
        "list_targets",
        "List targets",
        "The targets, page by page.",
        TargetListArguments,
        targets,
        shape(_LISTED),
        small=True,
    ),
)

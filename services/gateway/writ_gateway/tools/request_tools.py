"""Tools for requests of operations: an enforced read-only one, one for changes, previews, and one for each operation.

Each returns within 50 seconds: the outcome, or a handle to find the operation again.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, cast

from msgspec import Meta, defstruct, field

from writ_client.operations.request_signing import new_key
from writ_client.operations.time_left import NotRequested
from writ_client.tools.capability_tools import KINDS, name_of_kind, together
from writ_contracts.errors import Invalid, TimedOut, WritError
from writ_contracts.ids import CorrelationId, IdempotencyKey, OperationName, TargetId, operation_id
from writ_contracts.operations import Catalogue, Operation
from writ_gateway.results import advised, in_words, lost, operation_shape
from writ_gateway.schemas import Arguments, Schema, decode, input_schema, output_schema
from writ_gateway.session import ToolCall
from writ_gateway.tool import Given, Result, Tool, tool

LONGEST_WAIT = 30
"""Seconds. Sending a request may take 15 more while a service restarts, and a call no more than 50."""
Reason = Annotated[str, Meta(min_length=1, max_length=1000, description="why, for the people who read the record")]
RequestedBy = Annotated[str, Meta(max_length=320, description="you; anybody else is refused")]
Wait = Annotated[int, Meta(ge=0, le=LONGEST_WAIT, description="seconds to wait for the outcome")]


class ReadArguments(Arguments, frozen=True, kw_only=True):
    """A read of a target."""

    operation_type: OperationName
    target_id: TargetId
    parameters: dict[str, Any] = field(default_factory=dict)


class ChangeArguments(ReadArguments, frozen=True, kw_only=True):
    """A change of a target."""

    reason: Reason
    idempotency_key: IdempotencyKey | None = None
    wait: Wait = 20


class OperationOptions(Arguments, frozen=True, kw_only=True):
    """Arguments of every `execute_…` beside the operation's own parameters."""

    target_id: TargetId
    requested_by: RequestedBy | None = None
    reason: Annotated[str, Meta(max_length=1000)] = ""
    dry_run: bool = False
    idempotency_key: IdempotencyKey | None = None
    correlation_id: CorrelationId | None = None
    wait: Wait = 20


async def read(call: ToolCall, arguments: ReadArguments) -> Result:
    """Carry out a read-only operation. Raises Invalid for any other before a request is sent."""
    operation = call.session.catalogue.get(arguments.operation_type)
    if operation is not None and not operation.read_only:
        raise Invalid(
            f"operation_type: {operation.name} changes its target, and this tool only reads", code="read_only"
        )
    return await request(call, arguments.operation_type, arguments.target_id, arguments.parameters, wait=LONGEST_WAIT)


async def change(call: ToolCall, arguments: ChangeArguments) -> Result:
    """Request a change, and return its outcome or a handle."""
    options = {"reason": arguments.reason, "idempotency_key": arguments.idempotency_key, "wait": arguments.wait}
    return await request(call, arguments.operation_type, arguments.target_id, arguments.parameters, **options)


async def preview(call: ToolCall, arguments: ReadArguments) -> Result:
    """Return the preview of an operation by the target's agent."""
    options: dict[str, Any] = {"dry_run": True, "wait": LONGEST_WAIT}
    return await request(call, arguments.operation_type, arguments.target_id, arguments.parameters, **options)


def _options(arguments: OperationOptions) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in OperationOptions.__struct_fields__}


async def _execute(operation: Operation, call: ToolCall, arguments: Given) -> Result:
    """Request the operation of one tool, whose parameters stand beside the options."""
    ours = {name: value for name, value in arguments.items() if name in OperationOptions.__struct_fields__}
    parameters = {name: value for name, value in arguments.items() if name not in ours}
    options = _options(decode(OperationOptions, ours))
    operation.check(parameters)
    return await request(call, operation.name, options.pop("target_id"), parameters, **options)


async def request(
    call: ToolCall, operation_type: str, target_id: str, parameters: Mapping[str, Any], **options: Any
) -> Result:
    """Request an operation; return its outcome, or a handle, with the approvers if an approval is needed."""
    if call.longest_wait is not None:
        options["wait"] = min(options["wait"], call.longest_wait)
    key = options["idempotency_key"] = options.get("idempotency_key") or new_key()
    number = operation_id(call.session.writ.principal, key)
    try:
        result = await _executed(call, number, operation_type, target_id, parameters, options)
    except NotRequested:
        raise
    except TimedOut as error:
        if not _has_effect(call, operation_type, dry_run=options.get("dry_run", False)):
            raise
        return lost(error.code, in_words(error), number, key)
    if result["status"] == "awaiting_approval":
        result |= await _approvers(call, operation_type, target_id, parameters)
    return advised(result)


async def _executed(
    call: ToolCall,
    number: str,
    operation_type: str,
    target_id: str,
    parameters: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Result:
    """Return the result of the request; the operation as it is, if the gateway ends before. Raises TimedOut."""
    operations = call.session.operations
    effect = _has_effect(call, operation_type, dry_run=options.get("dry_run", False))
    try:
        async with call.session.writ.while_nats_replies(effect=effect), call.waits.limit():
            return await operations.execute(operation_type, target_id, parameters, on_event=call.on_event, **options)
    except TimeoutError:
        return await call.last_state(number, "the gateway is about to stop")


def _has_effect(call: ToolCall, operation_type: str, *, dry_run: bool) -> bool:
    operation = call.session.catalogue.get(operation_type)
    return operation is not None and not (dry_run or operation.read_only)


async def _approvers(call: ToolCall, operation_type: str, target_id: str, parameters: Mapping[str, Any]) -> Result:
    """Return the possible approvers and their time to decide; nothing if policy does not answer."""
    try:
        async with call.session.writ.while_nats_replies():
            found = await call.session.writ.policy.explain(operation_type, target_id, parameters)
    except WritError:
        return {}
    seconds = min((demand.seconds for demand in found.approvals), default=0)
    return {"approvers": found.could_approve} | ({"approval_seconds": seconds} if seconds else {})


def _reads(operation: Operation) -> bool:
    return operation.read_only and not operation.control


def _changes(operation: Operation) -> bool:
    return not operation.read_only and not operation.control


def _previews(operation: Operation) -> bool:
    return operation.preview


TOOLS: tuple[Tool, ...] = (
    tool(
        "read",
        "Read from a target",
        "Run an operation that only reads (risk read) on a target. Others are refused.",
        ReadArguments,
        read,
        operation_shape(),
        small=True,
        starts=True,
        needs=_reads,
    ),
    tool(
        "request_operation",
        "Request an operation",
        "Request an operation that changes a target. The policy decides; a person may have to approve. Repeat a call "
        "whose answer was lost with the same idempotency_key: it happens once.",
        ChangeArguments,
        change,
        operation_shape(),
        read_only=False,
        destructive=True,
        idempotent=False,
        small=True,
        starts=True,
        needs=_changes,
    ),
    tool(
        "preview_operation",
        "Preview an operation",
        "What an operation would do to its target. Nothing is changed.",
        ReadArguments,
        preview,
        operation_shape(),
        small=True,
        starts=True,
        needs=_previews,
    ),
)


def per_operation(catalogue: Catalogue) -> list[Tool]:
    """Return an `execute_<operation>` for each operation on targets, and `execute_<kind>_operation` for some kinds."""
    every = (_tool_of(one) for one in catalogue.values() if not one.control)
    return [*every, *(_tool_of_kind(catalogue, kind, named) for kind, named in KINDS.items())]


def _tool_of_kind(catalogue: Catalogue, kind: str, named: str) -> Tool:
    """Return one tool for all operations of a kind; `named` is the parameter listed beside `parameters`."""
    names = tuple(name for name in catalogue if name.startswith(f"{kind}_"))
    arguments = defstruct(
        f"{kind.capitalize()}Operation",
        [
            ("operation_type", Annotated[str, Meta(max_length=64, description=", ".join(names))]),
            (named, Annotated[str, Meta(max_length=255)], ""),
            ("parameters", dict[str, Any], field(default_factory=dict)),
        ],
        bases=(OperationOptions,),
        frozen=True,
        kw_only=True,
    )
    return tool(
        f"execute_{kind}_operation",
        f"{kind.capitalize()} operation",
        f"Run one of the {kind} operations.",
        cast("type[OperationOptions]", arguments),
        partial(_execute_of_kind, kind),
        operation_shape(),
        read_only=False,
        destructive=True,
        idempotent=False,
        starts=True,
        needs=lambda operation: operation.name in names,
    )


async def _execute_of_kind(kind: str, call: ToolCall, arguments: Any) -> Result:
    name = name_of_kind(call.session.catalogue, kind, arguments.operation_type)
    beside = {key: getattr(arguments, key) for key in (KINDS[kind],) if getattr(arguments, key)}
    options = _options(arguments)
    return await request(call, name, options.pop("target_id"), together(arguments.parameters, beside), **options)


def _tool_of(operation: Operation) -> Tool:
    def needs(other: Operation) -> bool:
        return other.name == operation.name

    return Tool(
        name=f"execute_{operation.name}",
        title=operation.name.replace("_", " ").capitalize(),
        description=operation.summary,
        schema=_beside(input_schema(operation.parameters), input_schema(OperationOptions)),
        run=partial(_execute, operation),
        output=operation_shape(output_schema(operation.output)),
        read_only=operation.read_only,
        destructive=not operation.read_only,
        idempotent=operation.idempotent,
        starts=True,
        needs=needs,
    )


def _beside(parameters: Schema, options: Schema) -> Schema:
    """Return one object with the properties of both."""
    required = [*parameters.get("required", ()), *options.get("required", ())]
    properties = {**parameters["properties"], **options["properties"]}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

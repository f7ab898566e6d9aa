"""Tools on the caller's own operations: status, wait, cancel, list, trace."""

import asyncio
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from writ_client.tools.results import operation_result, status_of
from writ_contracts.history.audit import SearchQuery
from writ_contracts.ids import OperationPrefix
from writ_gateway.results import advised, operation_shape, shape
from writ_gateway.schemas import Arguments, Schema
from writ_gateway.session import ToolCall
from writ_gateway.tool import Result, Tool, tool

LONGEST_CALL = 50
"""Seconds. Many clients give up on a call after 60."""
MOST_EVENTS = 100


class OperationArguments(Arguments, frozen=True, kw_only=True):
    """An operation, by its id or by the beginning of it that no other has."""

    operation_id: OperationPrefix


class WaitArguments(OperationArguments, frozen=True, kw_only=True):
    """Which operation, and how long."""

    wait: Annotated[int, Meta(ge=0, le=LONGEST_CALL, description="seconds")] = 30


class CancelArguments(OperationArguments, frozen=True, kw_only=True):
    """Which operation, and why."""

    reason: Annotated[str, Meta(min_length=1, max_length=1000)]


class TraceArguments(OperationArguments, frozen=True, kw_only=True):
    """Which operation, and the last event that the caller has of it."""

    after: Annotated[int, Meta(ge=0, description="for the rest: `sequence` of the last event shown")] = 0


class OperationListArguments(Arguments, frozen=True, kw_only=True):
    """Filters of the caller's operations."""

    open_only: bool = True
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


async def _whole(call: ToolCall, arguments: OperationArguments) -> str:
    return await call.session.writ.whole_operation(arguments.operation_id)


async def status(call: ToolCall, arguments: OperationArguments) -> Result:
    """Return the present state of one operation."""
    return advised(await call.session.operations.get_operation_status(arguments.operation_id))


async def wait(call: ToolCall, arguments: WaitArguments) -> Result:
    """Wait for the end of one operation. Return its state then, or when the time is up."""
    operation_id = arguments.operation_id
    try:
        async with asyncio.timeout(LONGEST_CALL), call.waits.limit():
            operation_id = await _whole(call, arguments)
            found = await call.session.operations.wait_for_operation(
                operation_id, wait=arguments.wait, on_event=call.on_event
            )
    except TimeoutError:
        text = f"no reply about operation {operation_id}; the operation goes on"
        found = await call.last_state(operation_id, text)
    return advised(found)


async def cancel(call: ToolCall, arguments: CancelArguments) -> Result:
    """Cancel an operation, and return how far the cancel is confirmed."""
    operations = call.session.operations
    return advised(await operations.cancel_operation(arguments.operation_id, arguments.reason, timeout=45.0))


async def mine(call: ToolCall, arguments: OperationListArguments) -> Result:
    """Return one's own operations, in short."""
    writ = call.session.writ
    if arguments.open_only:
        views = await writ.open_operations()
        rows = [operation_result(view) for view in views[: arguments.limit]]
        return {"operations": [_short(row) for row in rows], "more": len(views) > arguments.limit}
    found = await writ.search(SearchQuery(principal=writ.principal, limit=arguments.limit))
    rows = [
        {
            "status": status_of(one.state, one.outcome),
            "operation_id": one.operation_id,
            "operation_type": one.operation,
            "target_id": one.target,
        }
        for one in found.rows
    ]
    return {"operations": rows, "more": found.more}


def _short(row: Result) -> Result:
    return {name: row[name] for name in ("status", "operation_id", "operation_type", "target_id")}


async def trace(call: ToolCall, arguments: TraceArguments) -> Result:
    """Return the first events of an operation after one, each with its actor."""
    operation_id = await _whole(call, arguments)
    found = await call.session.writ.trace(operation_id=operation_id, after=arguments.after)
    events: list[Any] = [
        {"sequence": one.sequence, "at": one.at, "event": one.kind, "body": msgspec.to_builtins(one.body)}
        for one in found.events[:MOST_EVENTS]
    ]
    return {"operation_id": operation_id, "events": events, "more": len(found.events) > MOST_EVENTS}


_ROWS = {"type": "array", "items": {"type": "object", "required": ["status", "operation_id"]}}
_TRACE: dict[str, Schema] = {
    "operation_id": {"type": "string"},
    "events": {"type": "array", "items": {"type": "object", "required": ["sequence", "event"]}},
    "more": {"type": "boolean", "description": "There are later events, also if `cut` names `events`: use `after`."},
}


TOOLS: tuple[Tool, ...] = (
    tool(
        "get_operation_status",
        "Operation status",
        "How one of your operations stands, with its output.",
        OperationArguments,
        status,
        operation_shape(),
        small=True,
    ),
    tool(
        "wait_for_operation",
        "Wait for an operation",
        "Wait until an operation ends; call again while it has not. It goes on without you.",
        WaitArguments,
        wait,
        operation_shape(),
        small=True,
    ),
    tool(
        "cancel_operation",
        "Cancel an operation",
        "Stop one of your operations.",
        CancelArguments,
        cancel,
        operation_shape(),
        read_only=False,
        small=True,
    ),
    tool(
        "list_my_operations",
        "My operations",
        "Your operations that go on; with open_only false the latest ones, ended too.",
        OperationListArguments,
        mine,
        shape({"operations": _ROWS, "more": {"type": "boolean"}}),
        small=True,
    ),
    tool(
        "get_trace",
        "Trace",
        "Everything on record about an operation: decision, start, receipt.",
        TraceArguments,
        trace,
        shape(_TRACE),
        small=True,
    ),
)

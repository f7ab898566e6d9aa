"""Tools for requests and ends of approval windows. People approve the request; no tool does."""

from typing import Annotated

import msgspec
from msgspec import Meta

from writ_client.whole_ids import window_of
from writ_contracts.catalogue.windows import LONGEST, MOST_OPERATIONS, MOST_TARGETS, MOST_USES
from writ_contracts.ids import WRIT_TARGET, IdempotencyKey, OperationName, OperationPrefix, TargetId
from writ_gateway.client import WINDOW_END, WINDOW_REQUEST, unknown_operation
from writ_gateway.results import operation_shape
from writ_gateway.schemas import Arguments
from writ_gateway.session import ToolCall
from writ_gateway.tool import Result, Tool, tool
from writ_gateway.tools.request_tools import request

SOON = 20
"""Seconds to wait for the end of a window, which needs no agent and no approval."""


class WindowArguments(Arguments, frozen=True, kw_only=True):
    """So many uses of these operations on these targets, within `seconds` from the approval."""

    operations: Annotated[list[OperationName], Meta(min_length=1, max_length=MOST_OPERATIONS)]
    targets: Annotated[list[TargetId], Meta(min_length=1, max_length=MOST_TARGETS)]
    uses: Annotated[int, Meta(ge=1, le=MOST_USES)]
    seconds: Annotated[int, Meta(ge=1, le=LONGEST)]
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    idempotency_key: IdempotencyKey | None = None


async def request_window(call: ToolCall, arguments: WindowArguments) -> Result:
    """Request the window; return the pending operation, which waits for people's decision."""
    for operation in arguments.operations:
        if operation not in call.session.catalogue:
            raise unknown_operation(operation, call.session.catalogue)
    await call.session.writ.refuse_misspelt(*arguments.targets)
    parameters = msgspec.to_builtins(arguments)
    key = parameters.pop("idempotency_key")
    options = {"reason": arguments.reason, "idempotency_key": key, "wait": 0}
    return await request(call, WINDOW_REQUEST, WRIT_TARGET, parameters, **options)


class WindowEndArguments(Arguments, frozen=True, kw_only=True):
    """`window_id`: the operation id of the window's request, or the beginning of it that no other has."""

    window_id: OperationPrefix
    reason: Annotated[str, Meta(max_length=1000)] = ""


async def end_window(call: ToolCall, arguments: WindowEndArguments) -> Result:
    """End a window early: from then on each operation needs an approval of its own again."""
    options = {"reason": arguments.reason, "wait": SOON}
    window_id = await window_of(call.session.writ, arguments.window_id)
    return await request(call, WINDOW_END, WRIT_TARGET, {"window_id": window_id}, **options)


TOOLS: tuple[Tool, ...] = (
    tool(
        "request_approval_window",
        "Request an approval window",
        "Ask people once for approval of several later operations, instead of each time. Only they can open it.",
        WindowArguments,
        request_window,
        operation_shape(),
        read_only=False,
        idempotent=False,
        small=True,
        starts=True,
        needs=lambda operation: operation.name == WINDOW_REQUEST,
    ),
    tool(
        "end_approval_window",
        "End an approval window",
        "End a window that you requested, when its work is done.",
        WindowEndArguments,
        end_window,
        operation_shape(),
        read_only=False,
        idempotent=True,
        starts=True,
        needs=lambda operation: operation.name == WINDOW_REQUEST,
    ),
)

"""Tasks of MCP (extension io.modelcontextprotocol/tasks, 2026-07-28): operations, for clients that declare it.

A task is an operation by another name: its id is the operation's, the record is its store, and nothing is kept here.
Anyone who may read the operation may read the task. A task waiting for an approval is `working`: no input of a client
can approve it, so a task never requests input.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS
from mcp.types import GetTaskRequestParams as TaskParams
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from writ_client.tools.results import OPEN_STATUSES, operation_result
from writ_contracts.errors import Invalid, WritError
from writ_contracts.requests import OperationView
from writ_gateway.context import Context, SessionOf
from writ_gateway.results import advised, bounded, in_words
from writ_gateway.session import PrincipalSession
from writ_gateway.tool import Result
from writ_gateway.untrusted_text import visible

EXTENSION = "io.modelcontextprotocol/tasks"
MISSING_CAPABILITY = -32021
UNREACHABLE = -32000
POLL_MILLISECONDS, POLL_APPROVAL_MILLISECONDS = 2_000, 15_000
WAIT_SECONDS = 1.0
"""So long a call waits for its outcome before it becomes a task: most reads end within it."""
LONGEST_MESSAGE = 500
OWN_WAITS = frozenset({"target", "limit", "approval", "agent", "storage", "policy"})
"""Kinds of waits whose text is by Writ's services. That of `host` may be by the host."""
WAITS_THERE = "its target reports a wait; get_operation_status shows it"
T = TypeVar("T")
Finished = Callable[[Result], dict[str, Any]]
"""Makes the result of a tool call, as it goes over the wire, from an operation that has ended."""


def declared(context: Context) -> bool:
    """Return whether the client of this request takes tasks."""
    capabilities = context.session.client_capabilities
    extensions = capabilities.extensions if capabilities else None
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS and EXTENSION in (extensions or {})


def is_open(result: Result) -> bool:
    """Return True for the result of an operation not yet ended."""
    return result.get("status") in OPEN_STATUSES and bool(result.get("operation_id"))


def task_of(view: OperationView, finished: Finished) -> dict[str, Any]:
    """Return an operation as a task, with the result of the tool call where it has ended."""
    result = operation_result(view)
    task: dict[str, Any] = {
        "taskId": view.operation_id,
        "createdAt": _instant(view.requested_at),
        "lastUpdatedAt": _instant(view.updated_at),
        "ttlMs": None,
        "statusMessage": _message(view, str(result["status"])),
    }
    if is_open(result):
        waits = result["status"] == "awaiting_approval"
        return {
            **task,
            "status": "working",
            "pollIntervalMs": POLL_APPROVAL_MILLISECONDS if waits else POLL_MILLISECONDS,
        }
    if view.outcome == "cancelled":
        return {**task, "status": "cancelled"}
    return {**task, "status": "completed", "result": finished(bounded(advised(result)))}


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(view: OperationView, status: str) -> str:
    """Return the status and what the operation waits for. A client shows this as the server's own text. So what a host
    may have written, such as the message of an outcome and the reason of a wait there, is in results alone, which name
    it as data.
    """
    named = status.replace("_", " ")
    if view.waiting is None:
        return named
    why = view.waiting.text if view.waiting.kind in OWN_WAITS else WAITS_THERE
    return visible(f"{named}: {why}")[:LONGEST_MESSAGE]


class TaskHandlers:
    """The methods `tasks/get`, `tasks/update` and `tasks/cancel`."""

    def __init__(self, session_of: SessionOf, finished: Finished) -> None:
        self._session_of = session_of
        self._finished = finished

    def add_to(self, server: Server[Any]) -> None:
        """Serve tasks, and say so to clients."""
        server.extensions[EXTENSION] = {}
        methods: dict[str, Callable[[Context, TaskParams], Awaitable[dict[str, Any]]]] = {
            "tasks/get": self.get,
            "tasks/update": self.update,
            "tasks/cancel": self.cancel,
        }
        for name, handler in methods.items():
            server.add_request_handler(name, TaskParams, handler)

    async def created(self, session: PrincipalSession, operation_id: str) -> dict[str, Any]:
        """Return the task of an operation as the result of the call by which it was requested."""
        view = await session.writ.get(operation_id)
        return {"resultType": "task", **task_of(view, self._finished)}

    async def get(self, context: Context, params: TaskParams) -> dict[str, Any]:
        session = await self._session(context)
        view = await self._view(session, params.task_id)
        return task_of(await session.writ.with_output(view), self._finished)

    async def update(self, context: Context, params: TaskParams) -> dict[str, Any]:
        """Acknowledge, and ignore: no task requests input, and no input would be an approval."""
        await self._view(await self._session(context), params.task_id)
        return {}

    async def cancel(self, context: Context, params: TaskParams) -> dict[str, Any]:
        """Request the cancel of the operation; how far it came shows in the task."""
        session = await self._session(context)
        view = await self._view(session, params.task_id)
        if view.outcome is None:
            await _reached(session, session.writ.cancel_soon(view.operation_id, "the MCP client cancelled the task"))
        return {}

    async def _session(self, context: Context) -> PrincipalSession:
        if not declared(context):
            required: dict[str, Any] = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
            raise MCPError(MISSING_CAPABILITY, "Missing required client capability", required)
        return await self._session_of(context)

    async def _view(self, session: PrincipalSession, task_id: str) -> OperationView:
        return await _reached(session, session.writ.get(task_id))


async def _reached(session: PrincipalSession, asking: Awaitable[T]) -> T:
    """Return the answer. Raises the same MCPError for an unknown id and for another caller's operation."""
    try:
        async with session.writ.while_nats_replies():
            return await asking
    except Invalid as error:
        raise MCPError(INVALID_PARAMS, "there is no such task, or it is not yours", {"code": error.code}) from error
    except WritError as error:
        raise MCPError(UNREACHABLE, visible(in_words(error))[:LONGEST_MESSAGE], {"code": error.code}) from error

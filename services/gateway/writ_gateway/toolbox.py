"""All tools of one server, and their calls: a bounded result on every path, and errors with a code."""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from writ_contracts.errors import Denied, Invalid, WritError
from writ_contracts.nearest_name import SUGGESTED
from writ_contracts.operations import Catalogue, Operation
from writ_gateway import results
from writ_gateway.client import SUGGESTION_SECONDS
from writ_gateway.session import ToolCall
from writ_gateway.tool import Profile, Result, Tool
from writ_gateway.tools import discovery_tools, operation_tools, policy_tools, request_tools, windows

_QUOTED = re.compile(r"'([A-Za-z0-9_-]{1,64})'")


class Toolbox:
    """The tools of a profile. A read-only toolbox has no tool for changes."""

    def __init__(self, catalogue: Catalogue, profile: Profile, *, read_only: bool = False) -> None:
        every = [
            *discovery_tools.TOOLS,
            *request_tools.TOOLS,
            *windows.TOOLS,
            *policy_tools.TOOLS,
            *operation_tools.TOOLS,
        ]
        if profile == "full":
            every += request_tools.per_operation(catalogue)
        chosen = [tool for tool in every if (tool.small or profile == "full") and (tool.read_only or not read_only)]
        self._by_name = {tool.name: tool for tool in chosen}
        self.profile: Profile = profile

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._by_name.values())

    def find(self, name: str) -> Tool | None:
        return self._by_name.get(name)

    def listed(self, permitted: Iterable[Operation]) -> list[Tool]:
        """Return the tools useful with these permitted operations, `window_request` included, in a fixed order."""
        may = list(permitted)
        return [tool for tool in self._by_name.values() if tool.needs is None or any(map(tool.needs, may))]


async def run(tool: Tool, call: ToolCall, arguments: Mapping[str, Any]) -> Result:
    """Return the result of one call. Errors of Writ are results as well; other exceptions are defects and pass."""
    try:
        if tool.starts:  # it watches by itself: without a reply to a request for a change it returns the id
            return results.bounded(await tool.run(call, arguments))
        async with call.session.writ.while_nats_replies(effect=not tool.read_only):
            return results.bounded(await tool.run(call, arguments))
    except WritError as error:
        if isinstance(error, Invalid | Denied):
            named = arguments.get("operation_type")
            operation = named if isinstance(named, str) and named in call.session.catalogue else ""
            call.refusals.refused(call.session.writ.principal, error, tool.name, operation)
        hint = await _similar_target(call, error)
        return results.error(error.code, f"{results.in_words(error)}{hint}", retry=error.retry)


async def _similar_target(call: ToolCall, error: WritError) -> str:
    """Return a suggestion for the target that a service does not know, from the targets that the caller may list."""
    quoted = _QUOTED.search(str(error)) if error.code == "unknown_target" else None
    if quoted is None or SUGGESTED in str(error):
        return ""
    try:
        async with asyncio.timeout(SUGGESTION_SECONDS):
            return await call.session.writ.similar_target(quoted[1])
    except (WritError, TimeoutError):  # the message says enough without it
        return ""

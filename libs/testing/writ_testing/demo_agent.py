"""An AI agent's side of `make demo`: a real MCP client, with `writ mcp stdio` as its server."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters

from writ_testing.installations.installation import RunningInstallation


class DemoAgent:
    """A client showing its calls."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def tools(self) -> list[str]:
        """Return the names of the offered tools."""
        return [tool.name for tool in (await self._client.list_tools()).tools]

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool, and show the call and the lines of the result that a model acts on."""
        print(f"  > {tool} {json.dumps(arguments)}")
        result = (await self._client.call_tool(tool, arguments)).structured_content
        found: dict[str, Any] = result if isinstance(result, dict) else {}
        for name in ("status", "message", "approvers", "advice"):
            if found.get(name):
                print(f"    {name}: {found[name]}")
        return found


@asynccontextmanager
async def agent(installation: RunningInstallation, principal: str) -> AsyncIterator[DemoAgent]:
    """Yield a client whose MCP server acts as this principal and ends with the block."""
    server = StdioServerParameters(
        command=str(Path(sys.executable).with_name("writ")),
        args=["mcp", "stdio", "--as", principal],
        env={"WRIT_HOME": str(installation.home.root)},
    )
    async with Client(server) as client:
        yield DemoAgent(client)

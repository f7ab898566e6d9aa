"""`python mcp_call.py URL TOKEN TARGET`: list the tools and read from the target, as an MCP client; prints JSON."""

import asyncio
import json
import sys
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def called(url: str, token: str, target: str) -> dict[str, Any]:
    """Return the names of the tools, and the result of `network_status` on the target."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        tools = [tool.name for tool in (await client.list_tools()).tools]
        done = await client.call_tool("read", {"operation_type": "network_status", "target_id": target})
    return {"tools": tools, "result": done.structured_content}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(called(*sys.argv[1:]))))

"""`python mcp_call.py URL TOKEN TARGET OPERATION PARAMETERS`: list tools and read, as an MCP client; prints JSON."""

import asyncio
import json
import sys
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def called(url: str, token: str, target: str, operation: str, parameters: str = "{}") -> dict[str, Any]:
    """Return the names of the tools, and the result of a reading operation; `parameters` is JSON."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        tools = [tool.name for tool in (await client.list_tools()).tools]
        done = await client.call_tool(
            "read", {"operation_type": operation, "target_id": target, "parameters": json.loads(parameters)}
        )
    return {"tools": tools, "result": done.structured_content}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(called(*sys.argv[1:]))))

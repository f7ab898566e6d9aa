"""Calls through the MCP gateway beside the bare client: the tool list, a query, a read and a change.

`python -m bench gateway`: p50, p99 over `writ mcp stdio` and over the client of the same principal in the same run, the
memory of the gateway, and the size of the tool lists.
"""

import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from msgspec import Struct

from bench.timing import Sample, measure
from writ_client.client import Writ
from writ_testing.installations.installation import RunningInstallation, running_installation

COUNT = 300
ENVIRON = {"WRIT_RATE": "100000", "WRIT_BURST": "100000", "WRIT_LOG_LEVEL": "warning"}
CHARACTERS_PER_TOKEN = 3.5


class Found(Struct, frozen=True, kw_only=True):
    """Times by call, first of the client, then of the gateway; sizes by profile."""

    client: dict[str, Sample]
    gateway: dict[str, Sample]
    tokens: dict[str, int]
    gateway_mib: float


async def run() -> Found:
    """In an installation of its own."""
    with tempfile.TemporaryDirectory() as folder:
        async with running_installation(Path(folder), environ=ENVIRON) as installation:
            path = str(Path(folder) / "files" / "counted")
            async with await installation.client() as writ:
                client = await _timed(_client_calls(writ, path))
            async with Client(_command(installation), cache=None) as mcp:
                gateway = await _timed(_gateway_calls(mcp, path))
                tokens = {"small": await _tokens(mcp)}
                memory = _gateway_mib()
            async with Client(_command(installation, "--profile", "full"), cache=None) as mcp:
                gateway |= {"tools/list, full": await measure(lambda _: mcp.list_tools(), 1, COUNT // 10)}
                tokens |= {"full": await _tokens(mcp)}
    return Found(client=client, gateway=gateway, tokens=tokens, gateway_mib=memory)


Calls = Mapping[str, Callable[[int], Awaitable[object]]]


async def _timed(calls: Calls) -> dict[str, Sample]:
    for call in calls.values():
        await call(0)
    return {name: await measure(call, 1, COUNT) for name, call in calls.items()}


def _client_calls(writ: Writ, path: str) -> Calls:
    async def read(_: int) -> object:
        return await writ.with_output(await writ.run("test_noop", "web-1"))

    async def change(_: int) -> object:
        return await writ.with_output(await writ.run("test_count", "web-1", {"path": path}, reason="a bench"))

    async def targets(_: int) -> object:
        return await writ.targets()

    return {"list_targets": targets, "read (test_noop)": read, "change (test_count)": change}


def _gateway_calls(mcp: Client, path: str) -> Calls:
    async def call(tool: str, **arguments: Any) -> object:
        result = await mcp.call_tool(tool, arguments)
        if result.is_error:
            raise SystemExit(f"{tool}: {result.structured_content}")
        return result

    target = {"target_id": "web-1"}
    count = {**target, "operation_type": "test_count", "parameters": {"path": path}, "reason": "a bench"}
    return {
        "list_targets": lambda _: call("list_targets"),
        "read (test_noop)": lambda _: call("read", operation_type="test_noop", **target),
        "change (test_count)": lambda _: call("request_operation", **count),
        "tools/list": lambda _: mcp.list_tools(),
    }


def _command(installation: RunningInstallation, *arguments: str) -> StdioServerParameters:
    environ = {"WRIT_HOME": str(installation.home.root), "PYTHONPATH": os.environ["PYTHONPATH"]}
    writ = str(Path(sys.executable).with_name("writ"))
    return StdioServerParameters(command=writ, args=["mcp", "stdio", *arguments], env=environ)


async def _tokens(mcp: Client) -> int:
    listed = [one.model_dump(by_alias=True, exclude_none=True) for one in (await mcp.list_tools()).tools]
    return round(len(json.dumps(listed, separators=(",", ":"))) / CHARACTERS_PER_TOKEN)


def _gateway_mib() -> float:
    """Resident memory of the gateway that this process started."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"writ_gateway" in (process / "cmdline").read_bytes():
                kilobytes = (process / "status").read_text().partition("VmRSS:")[2].split()[0]
                return round(int(kilobytes) / 1024, 1)
        except OSError:
            continue
    return 0.0


def table(found: Found) -> str:
    """As Markdown."""
    rows = ["| one call at a time | client p50 ms | gateway p50 ms | p99 ms | ratio |", "|---|---|---|---|---|"]
    for name, sample in found.gateway.items():
        bare = found.client.get(name)
        ratio = f"{sample.p50 / bare.p50:.2f}" if bare else ""
        rows.append(f"| {name} | {bare.p50 if bare else ''} | {sample.p50} | {sample.p99} | {ratio} |")
    sizes = ", ".join(f"{name} {count:,}" for name, count in found.tokens.items())
    rows.append(f"\nTokens of the tool list (at 3.5 characters each): {sizes}. Memory: {found.gateway_mib} MiB.")
    return "\n".join(rows)

"""Calls through the MCP gateway beside the bare client: the tool list, a query, a read and a change.

`python -m bench gateway`: p50, p99 over `writ mcp stdio` and over the client of the same principal in the same run, the
memory of the gateway, and the size of the tool lists. Then 200 sessions at once over HTTP: each lists the tools and
reads five times. They are in this process, which takes its part of the machine.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from msgspec import Struct

from bench.timing import Sample, measure, summary
from writ_client.client import Writ
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation

COUNT = 300
SESSIONS, EACH = 200, 5
ENVIRON = {"WRIT_RATE": "100000", "WRIT_BURST": "100000", "WRIT_LOG_LEVEL": "info", "WRIT_MCP_PORT": "0"}
CHARACTERS_PER_TOKEN = 3.5


class Found(Struct, frozen=True, kw_only=True):
    """Times by call, first of the client, then of the gateway; and sizes by profile."""

    client: dict[str, Sample]
    gateway: dict[str, Sample]
    tokens: dict[str, int]
    gateway_mib: float
    sessions: dict[str, Sample]
    http_mib: dict[str, float]
    """Memory of the gateway over HTTP in MiB: before the sessions, and after."""


async def run() -> Found:
    """Run all measurements in an installation of their own."""
    with tempfile.TemporaryDirectory() as folder:
        people: list[tuple[str, dict[str, Any]]] = [
            ("gateway", {"kind": "gateway", "roles": []}),
            ("bot", {"kind": "agent", "acts_for": "operator", "via": "gateway"}),
        ]
        home = prepare(Path(folder), principals=people)
        async with running_installation(
            Path(folder), home=home, environ=ENVIRON, arguments=("--gateway",)
        ) as installation:
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
            sessions, http_memory = await _sessions(installation)
    return Found(
        client=client,
        gateway=gateway,
        tokens=tokens,
        gateway_mib=memory,
        sessions=sessions,
        http_mib=http_memory,
    )


async def _sessions(installation: RunningInstallation) -> tuple[dict[str, Sample], dict[str, float]]:
    """Return the times of calls with all sessions at once, and the gateway's memory."""
    made = json.loads((await installation.writ("token", "create", "bot", "-o", "json")).out)
    log = (installation.home.log / "gateway.log").read_text().splitlines()
    url = next(json.loads(line)["url"] for line in reversed(log) if "gateway.listening" in line)
    pid = installation.pid("gateway") or 0
    times: dict[str, list[float]] = {"tools/list": [], "read (test_noop)": []}
    memory, began = {"before": _mib(pid)}, time.perf_counter()
    async with (
        httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {made['token']}"},
            timeout=120,
            limits=httpx2.Limits(max_connections=2 * SESSIONS),
        ) as http,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(SESSIONS):
            group.create_task(_session(url, http, times))
    memory["after"] = _mib(pid)
    return {name: summary(found, time.perf_counter() - began) for name, found in times.items()}, memory


async def _session(url: str, http: httpx2.AsyncClient, times: dict[str, list[float]]) -> None:
    async with Client(streamable_http_client(url, http_client=http), cache=None) as mcp:
        began = time.perf_counter()
        await mcp.list_tools()
        times["tools/list"].append(time.perf_counter() - began)
        for _ in range(EACH):
            began = time.perf_counter()
            done = await mcp.call_tool("read", {"operation_type": "test_noop", "target_id": "web-1"})
            times["read (test_noop)"].append(time.perf_counter() - began)
            if done.is_error:
                raise SystemExit(f"read: {done.structured_content}")


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
    """Return the resident memory of the gateway that this process started."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"writ_gateway" in (process / "cmdline").read_bytes():
                return _mib(int(process.name))
        except OSError:
            continue
    return 0.0


def _mib(pid: int) -> float:
    kilobytes = Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]
    return round(int(kilobytes) / 1024, 1)


def table(found: Found) -> str:
    """Return the table as Markdown."""
    rows = ["| one call at a time | client p50 ms | gateway p50 ms | p99 ms | ratio |", "|---|---|---|---|---|"]
    for name, sample in found.gateway.items():
        bare = found.client.get(name)
        ratio = f"{sample.p50 / bare.p50:.2f}" if bare else ""
        rows.append(f"| {name} | {bare.p50 if bare else ''} | {sample.p50} | {sample.p99} | {ratio} |")
    sizes = ", ".join(f"{name} {count:,}" for name, count in found.tokens.items())
    rows.append(f"\nTokens of the tool list (at 3.5 characters each): {sizes}. Memory: {found.gateway_mib} MiB.")
    rows += [f"\n| {SESSIONS} sessions at once over HTTP | p50 ms | p99 ms |", "|---|---|---|"]
    rows += [f"| {name} | {sample.p50} | {sample.p99} |" for name, sample in found.sessions.items()]
    before, after = found.http_mib["before"], found.http_mib["after"]
    rows.append(f"\nMemory of the gateway over HTTP: {before} MiB before, {after} MiB after.")
    return "\n".join(rows)

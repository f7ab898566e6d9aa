"""Guests of Proxmox VE beside bare proxmoxer and `curl`, in one run on one simulated API: `python -m bench proxmox`.

The simulated API runs in this process, so its share is in every row; ratios count, not times.
"""

import asyncio
import shutil
import tempfile
import threading
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from proxmoxer import ProxmoxAPI
from tests.agent_proxmox.cluster import WEB, Cluster

from bench.timing import Sample, measure
from writ_testing.peers.proxmox import OWNER, SECRET, TOKEN, Proxmox, proxmox

CALLS, PROCESSES, ROUNDS = 40, 15, 3
GUESTS, TASKS = 500, 50
TASK_SECONDS = 3.0
POLL_SECONDS = 0.05
"""Pause of the bare client between two reads of a task's status."""
NODE = "pve1"
Call = Callable[[int], Awaitable[object]]


async def run() -> dict[str, object]:
    """Return all figures."""
    with tempfile.TemporaryDirectory() as folder, proxmox(Path(folder)) as server:
        cluster = Cluster(server, Path(folder), time_scale=0.0)
        bare = Bare(server)
        try:
            await cluster.done("container_start", container_name="web")
            rows = await _in_turns(_rows(cluster, bare, Path(folder)))
            return {"rows": rows, "fleet": await _fleet(cluster, server)}
        finally:
            bare.close()
            cluster.apis.close()


class Bare:
    """proxmoxer as its documentation uses it, in a thread."""

    def __init__(self, server: Proxmox) -> None:
        self._pool, self._pause = ThreadPoolExecutor(1), threading.Event()
        self._api = ProxmoxAPI(
            "127.0.0.1", port=server.pve.port, user=OWNER, token_name=TOKEN, token_value=SECRET, verify_ssl=False
        )

    def close(self) -> None:
        self._pool.shutdown()

    async def call(self, work: Callable[[Any], object]) -> None:
        """Call the guest's resource; follow the task that it names."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._call, work)

    def _call(self, work: Callable[[Any], object]) -> None:
        task = work(self._api.nodes(NODE).qemu(WEB))
        while isinstance(task, str) and self._api.nodes(NODE).tasks(task).status.get()["status"] != "stopped":
            self._pause.wait(POLL_SECONDS)


def _rows(cluster: Cluster, bare: Bare, folder: Path) -> dict[str, dict[str, tuple[Call, int]]]:
    names = count()

    def writ(name: str) -> tuple[Call, int]:
        return lambda _: cluster.done(name, container_name="web"), CALLS

    def plain(work: Callable[[Any], object]) -> tuple[Call, int]:
        return lambda _: bare.call(work), CALLS

    curl = partial(_curl, cluster.server, folder)
    return {
        "inspect": {
            "`curl`": (lambda _: curl("GET", "status/current"), PROCESSES),
            "proxmoxer": plain(lambda guest: guest.config.get()),
            "**Writ's agent**": writ("container_inspect"),
        },
        "restart": {
            "`curl`, task not followed": (lambda _: curl("POST", "status/reboot"), PROCESSES),
            "proxmoxer, task followed": plain(lambda guest: guest.status.reboot.post()),
            "**Writ's agent**": writ("container_restart"),
        },
        "snapshot": {
            "proxmoxer, task followed": plain(lambda guest: guest.snapshot.post(snapname=f"bare{next(names)}")),
            "**Writ's agent**": (
                lambda _: cluster.done("snapshot_create", container_name="web", snapshot_name=f"writ{next(names)}"),
                CALLS,
            ),
        },
    }


async def _in_turns(groups: dict[str, dict[str, tuple[Call, int]]]) -> dict[str, dict[str, Sample]]:
    found: dict[str, dict[str, list[Sample]]] = {name: {row: [] for row in rows} for name, rows in groups.items()}
    for _ in range(ROUNDS):
        for name, rows in groups.items():
            for row, (call, calls) in rows.items():
                found[name][row].append(await measure(call, 1, calls))
    return {
        name: {row: min(samples, key=lambda one: one.p50) for row, samples in rows.items()}
        for name, rows in found.items()
    }


async def _fleet(cluster: Cluster, server: Proxmox) -> dict[str, float]:
    """Return the seconds to list many guests, and the requests a second while many tasks are followed."""
    for number in range(GUESTS):
        server.vm(1000 + number, f"guest-{number}")
    began = time.perf_counter()
    listed = await cluster.done("guest_list")
    seconds = time.perf_counter() - began
    server.do(lambda pve: setattr(pve, "time_scale", 1.0))
    for number in range(TASKS):
        server.pve.find(NODE, 1000 + number).start_secs = TASK_SECONDS
    server.do(lambda pve: pve.requests.clear())
    began = time.perf_counter()
    ends = await asyncio.gather(
        *(cluster.done("container_start", container_name=f"guest-{number}") for number in range(TASKS))
    )
    elapsed = time.perf_counter() - began
    if any(one.outcome != "succeeded" for one in ends):
        raise SystemExit("a guest did not start")
    return {
        "listed": float(len(listed.output["guests"])),
        "list_ms": round(seconds * 1000, 1),
        "tasks": float(TASKS),
        "tasks_s": round(elapsed, 2),
        "requests_per_second": round(len(server.pve.requests) / elapsed, 1),
    }


async def _curl(server: Proxmox, folder: Path, method: str, path: str) -> None:
    certificate = folder / "pve.pem"
    if not certificate.exists():
        certificate.write_text(server.certificate)
    process = await asyncio.create_subprocess_exec(
        shutil.which("curl") or "curl",
        *("--silent", "--fail", "--insecure", "--request", method),
        *("--header", f"Authorization: PVEAPIToken={OWNER}!{TOKEN}={SECRET}"),
        f"https://127.0.0.1:{server.pve.port}/api2/json/nodes/{NODE}/qemu/{WEB}/{path}",
        stdout=DEVNULL,
    )
    if await process.wait() != 0:
        raise SystemExit(f"curl {method} {path} failed")


def table(found: dict[str, Any]) -> str:
    """Return the figures for docs/performance.md."""
    lines = ["| one at a time | by | p50 ms | p99 ms |", "|---|---|--:|--:|"]
    for group, rows in found["rows"].items():
        lines += [f"| {group} | {name} | {one.p50:.1f} | {one.p99:.1f} |" for name, one in rows.items()]
    fleet = found["fleet"]
    at_once = (
        f"{fleet['listed']:.0f} guests are listed in {fleet['list_ms']:.0f} ms. {fleet['tasks']:.0f} starts of "
        f"{TASK_SECONDS:g} s each, all followed at once, end after {fleet['tasks_s']:.1f} s with "
        f"{fleet['requests_per_second']:.0f} requests a second to the API."
    )
    return "\n".join([*lines, "", at_once])

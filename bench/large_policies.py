"""Memory of policy and audit with a policy of 10,000 rules, and the waits while it comes into force.

`python -m bench large_policies`. Audit makes a decision a second time every second. All rules of a later version differ
from those of the one before. Beside each change operations go on, one after the other, and the health of each service
is requested every 50 ms. The processor time that a service took from such a request to the reply is at least as long as
its event loop was blocked by its own work; other programs on the machine do not count in it.
"""

import asyncio
import re
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench.end_to_end import ENVIRON, Requester, resident
from bench.growth import again
from bench.scale import connected
from bench.timing import measure, pause
from writ_installation.processes.readiness import read_run_file
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation

DECIDERS, ALIVE = ("policy", "audit"), ("policy", "audit", "executor")
RULES, VERSIONS, OPERATIONS = 10_000, 10, 50
SETTINGS = {**ENVIRON, "WRIT_RECHECK_ONE_IN": "1", "WRIT_RECHECK_RATE": "1"}
HEARD_EVERY = 0.05
WAITING = 12
"""Above the decisions that wait for audit: it chooses one a second, and makes it after five seconds or so."""
GOVERNING = ["policy_publish", "policy_rollback", "stop_lift", "journal_archive", "audit_read"]
PUBLISHING = {"name": "governing", "operations": GOVERNING, "allowed": True, "user_roles": ["admin"]}
SECOND = re.compile(rb'writ_audit_second_decisions_total\{result="same"\} ([0-9.]+)')


class LongestWaits(Struct, frozen=True, kw_only=True):
    """The longest waits in ms: of operations from request to end, and of each service's replies to health requests.
    `processor`: the most processor time that the service took in one of the latter.
    """

    seconds: float
    operation: float
    alive: dict[str, float]
    processor: dict[str, float]


class LargePolicies(Struct, frozen=True, kw_only=True):
    """MB of each process after each change, and the waits during it."""

    megabytes: float
    memory: dict[str, dict[str, float]]
    waits: dict[str, LongestWaits]


RULE = """\
    - name: rule-{version}-{number}
      allowed: {allowed}
      operations: [{operation}]
      targets: [app{version}-{number}-*]
      user_roles: [team-{team}]
      parameter_constraints:
        service_name: {{type: string, pattern: 'app{version}-{number}-[a-z]+'}}
        timeout: {{type: int, max: {most}}}
      time_restrictions:
      - start_time: '06:00'
        end_time: '22:00'
        timezone: Europe/Berlin
"""
OPERATIONS_OF_RULES = ("service_restart", "service_start", "service_stop", "service_status")


def document(version: int, rules: int = RULES) -> str:
    """Return a policy like that of a large installation: a team's own services on its own targets, by day."""
    return (
        open_policy(PUBLISHING)
        + "  role_policies:\n    production:\n"
        + "".join(_rule(version, number) for number in range(rules))
    )


def _rule(version: int, number: int) -> str:
    return RULE.format(
        version=version,
        number=number,
        allowed=str(number % 10 > 0).lower(),
        operation=OPERATIONS_OF_RULES[number % 4],
        team=number % (RULES // 10),
        most=(10, 40, 60)[number % 3],
    )


async def run() -> LargePolicies:
    """Run all measurements on one installation."""
    memory, waits = dict[str, dict[str, float]](), dict[str, LongestWaits]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = prepare(folder, policy=open_policy(PUBLISHING))
        async with running_installation(folder, home=home, environ=SETTINGS) as installation:
            course = _Course(installation, *await connected(installation))
            memory["few rules"] = await course.settled()
            waits["nothing is published"] = await course.longest(pause(5))
            waits["the first publish, and its first second decision"] = await course.longest(course.publish(1))
            memory[f"{RULES:,} published"] = await course.settled()
            waits["both start"] = await course.longest(course.restart(), alive=())
            memory["both started again"] = await course.settled()
            waits[f"{VERSIONS} publishes"] = await course.longest(course.publish(*range(2, VERSIONS + 2)))
            memory[f"published again, {VERSIONS} times"] = await course.settled()
            await course.close()
    return LargePolicies(megabytes=round(len(document(1)) / 1e6, 1), memory=memory, waits=waits)


class _Course:
    """The changes of one installation."""

    def __init__(self, installation: RunningInstallation, bus: Any, requester: Requester) -> None:
        self._installation, self._bus, self._requester = installation, bus, requester

    async def close(self) -> None:
        await self._bus.close()

    async def publish(self, *versions: int) -> None:
        """Publish versions, one after the other, and let audit make decisions by the last."""
        for version in versions:
            text = await asyncio.to_thread(document, version)
            async with await self._installation.client() as client:
                done = await client.policy_publish(text, reason="a measurement")
            if done.outcome != "succeeded":
                raise SystemExit(f"it could not be published: {done}")
        await self._again()

    async def restart(self) -> None:
        """Kill the services, and let audit make decisions."""
        for one in DECIDERS:
            await again(self._installation, one)
        await self._requester.noop(0)
        await self._again()

    async def settled(self) -> dict[str, float]:
        """Return the memory once some operations were decided twice."""
        await measure(self._requester.noop, 8, OPERATIONS)
        await self._again()
        return {name: value for name, value in resident(self._installation).items() if name in DECIDERS}

    async def _again(self) -> None:
        """Wait until audit has made so many more decisions that some are on requests from now on."""
        before = await self._second()

        async def are_made() -> bool:
            await self._requester.noop(0)
            return await self._second() >= before + WAITING

        await eventually(are_made, within=120, what="second decisions")

    async def _second(self) -> float:
        found = SECOND.search(await _get(self._installation, "audit", "/metrics"))
        return float(found[1]) if found else 0.0

    async def longest(self, change: Awaitable[object], alive: tuple[str, ...] = ALIVE) -> LongestWaits:
        """Return the longest waits during a change."""
        began, task = time.perf_counter(), asyncio.ensure_future(change)
        asked: list[Callable[[], Awaitable[object]]] = [lambda: self._requester.noop(0)] if alive else []
        asked += [lambda name=one: _get(self._installation, name, "/healthz") for one in alive]  # type: ignore[misc]
        pids = [None, *(self._installation.pid(one) for one in alive)]
        found = await asyncio.gather(*(_longest(ask, pid, task) for ask, pid in zip(asked, pids, strict=False)))
        await task
        operation, *others = found or [(0.0, 0.0)]
        return LongestWaits(
            seconds=round(time.perf_counter() - began, 1),
            operation=operation[0],
            alive={name: wait for name, (wait, _) in zip(alive, others, strict=True)},
            processor={name: spent for name, (_, spent) in zip(alive, others, strict=True)},
        )


async def _longest(
    ask: Callable[[], Awaitable[object]], pid: int | None, change: asyncio.Future[object]
) -> tuple[float, float]:
    """Return the longest wait, and the most processor time of the process in one wait."""
    longest = most = 0.0
    while not change.done():
        began, before = time.perf_counter(), _spent(pid)
        await ask()
        longest, most = max(longest, time.perf_counter() - began), max(most, _spent(pid) - before)
        await pause(HEARD_EVERY)
    return round(longest * 1000, 1), round(most * 1000, 1)


def _spent(pid: int | None) -> float:
    """Return the processor time of a process, of all its threads, in seconds."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat") if pid is not None else ()
    return sum(int(one.read_text().split()[0]) for one in files) / 1e9


async def _get(installation: RunningInstallation, name: str, path: str) -> bytes:
    found = read_run_file(installation.home.run / f"{name}.json", installation.pid(name))
    assert found is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", found.health_port)
    writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    reply = await reader.read()
    writer.close()
    assert b" 200 " in reply.split(b"\r\n", 1)[0], reply[:200]
    return reply


def table(found: LargePolicies) -> str:
    """Return the tables as Markdown."""
    lines = [f"| RSS, MB | {' | '.join(DECIDERS)} |", f"|---|{'--:|' * len(DECIDERS)}"]
    for said, memory in found.memory.items():
        lines.append(f"| {said} | {' | '.join(str(memory[one]) for one in DECIDERS)} |")
    names = " | ".join(f"{one} is alive | its processor time" for one in ALIVE)
    lines += ["", f"| the longest, ms | s | an operation | {names} |", f"|---|--:|--:|{'--:|--:|' * len(ALIVE)}"]
    for said, one in found.waits.items():
        if one.alive:
            alive = " | ".join(f"{one.alive[name]} | {one.processor[name]}" for name in ALIVE)
            lines.append(f"| {said} | {one.seconds} | {one.operation} | {alive} |")
    return "\n".join(lines)

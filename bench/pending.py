"""Measure many pending operations: list them, decide on one, and let all of them expire.

`python -m bench pending`: 1,000 and 10,000 operations that wait for one person, in an installation of real processes.
"""

import os
import tempfile
import time
from pathlib import Path

from msgspec import Struct

from bench.end_to_end import ENVIRON
from bench.timing import Sample, measure, pause
from writ_client.client import Writ
from writ_contracts.people.approvals import MOST_PENDING
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)

COUNTS = tuple(int(count) for count in os.environ.get("WRIT_BENCH_PENDING", "1000,10000").split(","))
REQUESTERS, IN_FLIGHT, DECIDED, POLLED = 10, 64, 100, 0.5
WINDOW = {1_000: 60, 10_000: 240}
"""Seconds to decide: long enough to request all of them, list them and decide on some."""
MORE = {"WRIT_MOST_OPEN": "20000"}


class Figures(Struct, frozen=True, kw_only=True):
    """The figures for one number of pending operations, in seconds, except for samples."""

    pending: int
    all_pages: float
    first_page_ms: float
    last_page_ms: float
    decide: Sample
    expired_within: float


async def run() -> dict[str, Figures]:
    """Return the figures for each number of pending operations."""
    found = {}
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as name:
            found[str(count)] = await _measured(Path(name), count)
    return found


async def _measured(folder: Path, count: int) -> Figures:
    window = WINDOW.get(count, 60)
    rule = {"name": "a person", "operations": ["test_noop"], "allowed": True, "approval": {"timeout": f"{window}s"}}
    people = [(f"asker-{at}", {"roles": ["operator"]}) for at in range(REQUESTERS)] + [("bob", {"roles": ["approver"]})]
    targets = [local_target("web-1", folder / "files")]
    home = prepare(folder, targets=targets, policy=open_policy(rule), principals=people)
    async with running_installation(folder, home=home, environ={**ENVIRON, **MORE}) as installation:
        return await _figures(installation, count, window)


async def _figures(installation: RunningInstallation, count: int, window: float) -> Figures:
    askers = [await installation.client(f"asker-{at}") for at in range(REQUESTERS)]
    bob, key = await installation.client("bob"), (installation.home.key("policy").public,)

    async def ask(number: int) -> None:
        answer = await askers[number % REQUESTERS].submit("test_noop", "web-1", timeout=30)
        assert answer.state == "awaiting_approval", answer

    await measure(ask, IN_FLIGHT, count)
    last_asked = time.monotonic()
    pages, waiting = await _pages(bob)
    assert len(waiting) == count, len(waiting)

    async def decide(number: int) -> None:
        await bob.approvals.reject(await bob.approvals.card(waiting[number], key))

    decided = await measure(decide, 1, DECIDED)
    expired = await _expired(askers, last_asked + window)
    for writ in (*askers, bob):
        await writ.close()
    return Figures(
        pending=count,
        all_pages=round(sum(pages), 2),
        first_page_ms=round(pages[0] * 1000, 1),
        last_page_ms=round(pages[-1] * 1000, 1),
        decide=decided,
        expired_within=round(expired, 1),
    )


async def _pages(bob: Writ) -> tuple[list[float], list[str]]:
    """Return the seconds of each page, and all ids."""
    pages, found, after, more = list[float](), list[str](), 0, True
    while more:
        began = time.perf_counter()
        answer = await bob.approvals.pending(after=after, limit=MOST_PENDING)
        pages.append(time.perf_counter() - began)
        found += [one.operation_id for one in answer.pending]
        after, more = answer.last, answer.more
    return pages, found


async def _expired(askers: list[Writ], last: float) -> float:
    """Return the seconds from the end of the last operation's time to decide until nothing waits any more."""
    await pause(max(last - time.monotonic() - 1.0, 0.0))
    while True:
        left = [len(await writ.open_operations()) for writ in askers]
        if not any(left):
            return time.monotonic() - last
        await pause(POLLED)


def table(found: dict[str, Figures]) -> str:
    """Return the table as Markdown."""
    lines = ["| pending | all pages, s | first page, ms | last page, ms | decide, p50 / p99 ms | expired within, s |"]
    lines.append("|--:|--:|--:|--:|--:|--:|")
    lines += [
        f"| {one.pending:,} | {one.all_pages} | {one.first_page_ms} | {one.last_page_ms} "
        f"| {one.decide.p50} / {one.decide.p99} | {one.expired_within} |"
        for one in found.values()
    ]
    return "\n".join(lines)

"""Measure an approval: from request to pending, and from approval to start, beside a plain `test_noop` of the same run.

`python -m bench approvals`: one request after the other, and 10,000 verifications of a signed approval in process.
"""

import asyncio
import tempfile
import time
from pathlib import Path

from bench.end_to_end import ENVIRON
from bench.timing import Sample, measure, summary
from writ_bus.port import Bus, Message
from writ_client.client import Writ
from writ_client.context import Context, open_bus
from writ_contracts import subjects
from writ_contracts.people.approvals import Approval
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_trust.approvals import nkey_credential, prove_approval, sign_approval
from writ_trust.keys import Key, generate_seed

COUNT, WARM, VERIFIED = 200, 20, 10_000
RULE = {"name": "second person", "operations": ["test_noop"], "targets": ["web-2"], "allowed": True, "approval": {}}


class Events:
    """The times at which each kind of event of alice's operations arrived."""

    def __init__(self) -> None:
        self._heard: dict[tuple[str, str], asyncio.Future[float]] = {}

    async def listen(self, bus: Bus) -> None:
        """Subscribe to all events."""
        await bus.subscribe(subjects.events_of("alice"), self._take, concurrency=256)

    async def _take(self, message: Message) -> None:
        where = subjects.parse_event(message.subject)
        if where is not None and not (heard := self.of(where.operation_id, where.event)).done():
            heard.set_result(time.perf_counter())

    def of(self, operation_id: str, event: str) -> asyncio.Future[float]:
        """Return when that event arrived."""
        return self._heard.setdefault((operation_id, event), asyncio.get_running_loop().create_future())


async def run() -> dict[str, object]:
    """Return all figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        targets = [local_target(each, folder / "files") for each in ("web-1", "web-2")]
        people = [("alice", {"roles": ["operator"]}), ("bob", {"roles": ["approver"]})]
        home = prepare(folder, targets=targets, policy=open_policy(RULE), principals=people)
        async with running_installation(folder, home=home, environ=ENVIRON) as installation:
            rows = await _approved(installation)
    return {"rows": rows, "verify_us": _verification()}


async def _approved(installation: RunningInstallation) -> dict[str, Sample]:
    seed = installation.home.seed_file("principal-alice").read_bytes()
    bus = await open_bus(Context(principal="alice", url=installation.url), seed, wait=10)
    events, key = Events(), (installation.home.key("policy").public,)
    await events.listen(bus)
    async with await installation.client("alice") as alice, await installation.client("bob") as bob:

        async def plain(_: int) -> None:
            answer = await alice.submit("test_noop", "web-1")
            await events.of(answer.operation_id or "", "finished")

        await measure(plain, 1, WARM)
        rows = {"test_noop end to end": await measure(plain, 1, COUNT)}
        times: dict[str, list[float]] = {"request → pending": [], "approval → start": [], "approval → end": []}
        for at in range(WARM + COUNT):
            found = await _one(alice, bob, events, key)
            for name, seconds in zip(times, found, strict=True):
                times[name] += [seconds] if at >= WARM else []
    await bus.close()
    return rows | {name: summary(seconds, sum(seconds)) for name, seconds in times.items()}


async def _one(alice: Writ, bob: Writ, events: Events, key: tuple[str]) -> tuple[float, float, float]:
    """Return the seconds from request to reply, and from the approval to `granted` and `finished`."""
    began = time.perf_counter()
    answer = await alice.submit("test_noop", "web-2")
    pending, operation_id = time.perf_counter() - began, answer.operation_id or ""
    card = await bob.approvals.card(operation_id, key)
    began = time.perf_counter()
    await bob.approvals.approve(card)
    started, ended = await events.of(operation_id, "granted"), await events.of(operation_id, "finished")
    return pending, started - began, ended - began


def _verification() -> float:
    """Return the microseconds to verify one approval."""
    bob = Key(generate_seed())
    approval = Approval(
        operation_id="a" * 26,
        requested="0" * 64,
        decision_digest="1" * 64,
        step="second person#1",
        verdict="approve",
        approver="bob",
        issued_at=time.time(),
        nonce="ab" * 32,
    )
    signed, credentials = sign_approval(bob, approval), [nkey_credential("bob", bob.public)]
    began = time.perf_counter()
    for _ in range(VERIFIED):
        prove_approval(signed, credentials, installation="")
    return round((time.perf_counter() - began) / VERIFIED * 1e6, 1)


def table(figures: dict[str, object]) -> str:
    """Return the table for people."""
    rows = figures["rows"]
    assert isinstance(rows, dict)
    lines = ["| what | p50 ms | p99 ms |", "|---|--:|--:|"]
    lines += [f"| {name} | {sample.p50} | {sample.p99} |" for name, sample in rows.items()]
    lines += ["", f"Verifying one signed approval takes {figures['verify_us']} µs."]
    return "\n".join(lines)

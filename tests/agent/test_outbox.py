"""Receipts reach an executor or the spool; a large one about no change goes to the disk only if it must wait."""

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from writ_agent.reporting.outbox import LARGE, Outbox, repeat_pause
from writ_agent.reporting.spool import Intent, Parcel, Spool
from writ_bus.port import Endpoint, EndpointReply, Message, Service
from writ_contracts.agents import Acknowledgement
from writ_contracts.requests import Failure
from writ_contracts.wire import encode
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus

SMALL, BIG = Parcel(subject="writ.receipt.a", body=b"x"), Parcel(subject="writ.receipt.a", body=b"x" * (LARGE + 1))


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path, b"s" * 32) as made:
        yield made


async def serve(broker: Broker, spool: Spool, kept: list[bool], *answers: Acknowledgement) -> None:
    """Answer receipts in turn, and note whether the spool has each by then."""
    turns = iter(answers)

    async def handle(message: Message) -> EndpointReply:
        kept.append("k" in spool.live)
        return EndpointReply(encode(next(turns)), {})

    endpoint = Endpoint(name="receipt", subject="writ.receipt.*", handler=handle)
    await MemoryBus(broker).serve(Service(name="executor", version="0", description="x", endpoints=[endpoint]))


@pytest.mark.parametrize(
    ("parcel", "durable", "spooled"), [(BIG, False, False), (BIG, True, True), (SMALL, True, True)]
)
async def test_large_receipt_of_a_read_is_sent_without_the_disk(
    spool: Spool, parcel: Parcel, durable: bool, spooled: bool
) -> None:
    broker, kept, sent = Broker(), list[bool](), list[str]()
    await serve(broker, spool, kept, Acknowledgement(stored=True))
    outbox = Outbox(MemoryBus(broker), spool, sent.append)
    await outbox.post("k", parcel, durable=durable)
    await outbox.flush(5.0)
    assert (kept, sent, dict(spool.live)) == ([spooled], ["k"], {})


@pytest.mark.parametrize("broken", [False, True])
async def test_receipt_of_a_change_is_sent_while_the_disk_syncs_it_and_cleared_afterwards(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    broker, kept, sent, is_acknowledged = Broker(), list[bool](), list[str](), threading.Event()
    await serve(broker, spool, kept, Acknowledgement(stored=True))
    outbox = Outbox(MemoryBus(broker), spool, sent.append)

    def slow(fd: int) -> None:
        assert is_acknowledged.wait(60)
        if broken:
            raise OSError(errno.EIO, "bad disk")

    monkeypatch.setattr(os, "fdatasync", slow)
    posting = asyncio.create_task(outbox.post("k", SMALL))

    async def received() -> bool:
        return bool(kept)

    await eventually(received, what="the receipt")
    assert (kept, sent, dict(spool.live), posting.done()) == ([True], [], {"k": SMALL}, False)
    is_acknowledged.set()
    await posting
    await outbox.flush(5.0)
    assert (sent, dict(spool.live)) == (["k"], {})


async def test_large_receipt_of_a_read_is_spooled_once_it_has_to_wait(spool: Spool) -> None:
    broker, kept, sent = Broker(), list[bool](), list[str]()
    busy = Acknowledgement(error=Failure(code="unavailable", message="not now", retry=True))
    await serve(broker, spool, kept, busy, Acknowledgement(stored=True))
    outbox = Outbox(MemoryBus(broker), spool, sent.append)
    await outbox.post("k", BIG, durable=False)
    await outbox.flush(10.0)
    assert (kept, sent, dict(spool.live)) == ([False, True], ["k"], {})


async def test_large_receipt_of_a_read_outlives_an_outbox_that_closes(spool: Spool) -> None:
    outbox = Outbox(MemoryBus(Broker()), spool, lambda _: None)
    await outbox.post("k", BIG, durable=False)
    await outbox.close()
    assert spool.live["k"] == BIG


async def test_refused_large_receipt_is_set_aside_whole(spool: Spool, tmp_path: Path) -> None:
    broker, kept = Broker(), list[bool]()
    await serve(broker, spool, kept, Acknowledgement(error=Failure(code="forged_receipt", message="not yours")))
    outbox = Outbox(MemoryBus(broker), spool, lambda _: None)
    await outbox.post("k", BIG, durable=False)
    await outbox.flush(5.0)
    (aside,) = tmp_path.glob("rejected-*")
    assert aside.stat().st_size > LARGE
    assert not spool.live


async def test_unsettled_receipt_is_sent_again_also_by_a_later_process_and_holds_up_no_stop(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writ_agent.reporting.outbox.LONGEST_PAUSE", 0.05)
    broker, kept, sent = Broker(), list[bool](), list[str]()
    unsettled = Acknowledgement(stored=True, unsettled=True)
    await serve(broker, spool, kept, *[unsettled] * 3, Acknowledgement(stored=True))
    first = Outbox(MemoryBus(broker), spool, sent.append)
    await first.post("k", SMALL)
    await first.flush(600.0)
    assert (first.pending, sent) == (frozenset(), ["k"])
    await first.close()
    assert dict(spool.live) == {"k": SMALL}
    later = Outbox(MemoryBus(broker), spool, sent.append)
    later.resume()

    async def is_forgotten() -> bool:
        return not spool.live

    await eventually(is_forgotten, what="the fate of its claim")
    assert kept == [True] * 4
    await later.close()


@pytest.mark.parametrize(("count", "seconds"), [(1, 5.0), (500, 5.0), (12_000, 120.0)])
def test_many_unsettled_receipts_are_sent_again_more_slowly(count: int, seconds: float) -> None:
    assert repeat_pause(count) == seconds


NOT_FOUND = Acknowledgement(error=Failure(code="not_found", message="no such operation"))
BUSY = Acknowledgement(error=Failure(code="unavailable", message="not now", retry=True))
UNSETTLED, STORED = Acknowledgement(stored=True, unsettled=True), Acknowledgement(stored=True)


@pytest.mark.parametrize(
    ("seconds", "answers", "is_aside"),
    [
        (600.0, [NOT_FOUND, STORED], False),
        (0.0, [NOT_FOUND], True),
        (600.0, [UNSETTLED, NOT_FOUND, UNSETTLED, STORED], False),
        (0.0, [UNSETTLED, NOT_FOUND], True),
    ],
)
async def test_receipt_of_an_operation_that_is_not_found_is_set_aside_only_after_a_while(
    spool: Spool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    answers: list[Acknowledgement],
    is_aside: bool,
) -> None:
    """A former leader of the journal may reply: it has not seen the operation."""
    monkeypatch.setattr("writ_agent.reporting.outbox.NOT_FOUND_SECONDS", seconds)
    monkeypatch.setattr("writ_agent.reporting.outbox.LONGEST_PAUSE", 0.05)
    broker, kept = Broker(), list[bool]()
    await serve(broker, spool, kept, *answers)
    one = Outbox(MemoryBus(broker), spool, lambda _: None)
    await one.post("k", SMALL)

    async def is_over() -> bool:
        return not spool.live

    await eventually(is_over, what="the end of the receipt")
    assert (len(kept), len(list(tmp_path.glob("rejected-*")))) == (len(answers), is_aside)
    await one.close()


async def test_while_for_an_operation_that_is_not_found_begins_with_that_reply(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt may have waited for minutes until a server of NATS could be reached."""
    monkeypatch.setattr("writ_agent.reporting.outbox.monotonic", iter([1000.0, 1059.0, 1061.0]).__next__)
    broker, kept = Broker(), list[bool]()
    await serve(broker, spool, kept, BUSY, NOT_FOUND, NOT_FOUND, STORED)
    one = Outbox(MemoryBus(broker), spool, lambda _: None)
    await one.post("k", SMALL)
    await one.flush(60.0)
    assert (len(kept), dict(spool.live), list(tmp_path.glob("rejected-*"))) == (4, {}, [])


async def test_refused_receipt_of_a_former_release_takes_no_other_claim_aside(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key is that of the attempt, as the one of an operation that has begun by another claim meanwhile."""
    monkeypatch.setattr("writ_agent.reporting.outbox.LONGEST_PAUSE", 0.05)
    broker, kept = Broker(), list[bool]()
    await serve(broker, spool, kept, UNSETTLED, Acknowledgement(error=Failure(code="forged_receipt", message="no")))
    one = Outbox(MemoryBus(broker), spool, lambda _: None)
    await one.post("k", SMALL)
    await one.flush(60.0)
    intent = Intent(operation_id="k", attempt=1, principal="a", instance="i", operation="o", grant_digest="d")
    await spool.put("k", intent)

    async def is_over() -> bool:
        return not one._repeating

    await eventually(is_over, what="the refusal")
    assert (len(kept), dict(spool.live), list(tmp_path.glob("rejected-*"))) == (2, {"k": intent}, [])

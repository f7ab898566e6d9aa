"""Receipts reach an executor or the spool; a large one about no change goes to the disk only if it must wait."""

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from writ_agent.reporting.outbox import LARGE, Outbox
from writ_agent.reporting.spool import Parcel, Spool
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
        assert is_acknowledged.wait(10)
        if broken:
            raise OSError(errno.EIO, "bad disk")

    monkeypatch.setattr(os, "fdatasync", slow)
    posting = asyncio.create_task(outbox.post("k", SMALL))

    async def received() -> bool:
        return bool(kept)

    await eventually(received, within=10, what="the receipt")
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

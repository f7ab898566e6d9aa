"""Streams and consumers have the requested configuration, or Writ names the fault."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from writ_bus.errors import BusRefused, Forbidden, Unreachable
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.nats.jetstream import call
from writ_nats_server.streams import Sizes, consumer, differences, provision, streams
from writ_runtime.journal.journal_guard import JournalGuard
from writ_runtime.metrics import Metrics
from writ_testing.peers.nats_server import anybody, open_server, writ_server
from writ_testing.suites.bus_fixture import SOON

SIZES = Sizes(journal=1 << 20, params=1 << 20, results=1 << 20)


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[NatsBus]:
    """A server with JetStream and nothing in it."""
    async with open_server(tmp_path, f'jetstream: {{ store_dir: "{tmp_path / "js"}" }}') as (_, url):
        bus = await connect(anybody(url))
        yield bus
        await bus.close()


async def config_of(bus: NatsBus, what: str) -> dict[str, Any]:
    answer = await bus.replies.one(f"$JS.API.{what}", b"", timeout=SOON)
    config: dict[str, Any] = json.loads(answer.data)["config"]
    return config


async def test_provision_makes_all_streams_and_a_repetition_changes_nothing(bus: NatsBus) -> None:
    for _ in range(2):
        await provision(bus, ["a", "local-web_1"], SIZES)
    for expected in streams(SIZES):
        assert differences(expected, await config_of(bus, f"STREAM.INFO.{expected['name']}")) == []
    for pool in ("a", "local-web_1"):
        there = await config_of(bus, f"CONSUMER.INFO.WRIT_JOURNAL.agent-{pool}")
        assert differences(consumer(pool), there) == []


async def test_journal_can_be_neither_changed_nor_emptied(bus: NatsBus) -> None:
    await provision(bus, [], SIZES)
    await bus.replies.one("writ.journal.control.x", b"1", timeout=SOON)
    for verb, request in (("PURGE", b""), ("MSG.DELETE", b'{"seq":1}')):
        answer = await bus.replies.one(f"$JS.API.STREAM.{verb}.WRIT_JOURNAL", request, timeout=SOON)
        assert json.loads(answer.data)["error"]["code"] in (400, 500)
    assert len(await bus.journal.read("writ.journal.>")) == 1


async def test_sizes_follow_the_configuration(bus: NatsBus) -> None:
    await provision(bus, [], SIZES)
    await provision(bus, [], Sizes(journal=2 << 20, params=1 << 20, results=1 << 20))
    assert (await config_of(bus, "STREAM.INFO.WRIT_JOURNAL"))["max_bytes"] == 2 << 20


async def test_journal_is_set_back_where_it_loses_events_or_takes_them_from_another_stream(bus: NatsBus) -> None:
    await provision(bus, [], SIZES)
    before = await config_of(bus, "STREAM.INFO.WRIT_JOURNAL")
    copied = {"name": "COPIED", "subjects": ["copied.>"], "max_bytes": 1 << 20}
    await call(bus.replies, "STREAM.CREATE.COPIED", copied)
    other = {"name": "COPIED", "subject_transforms": [{"src": "copied.>", "dest": "writ.journal.op.>"}]}
    changed = {"max_age": 3_600 * 10**9, "max_msgs_per_subject": 1, "sources": [other]}
    changed["subject_transform"] = {"src": "writ.journal.a.>", "dest": "writ.journal.b.>"}
    await call(bus.replies, "STREAM.UPDATE.WRIT_JOURNAL", {**before, **changed})
    await provision(bus, [], SIZES)
    assert await config_of(bus, "STREAM.INFO.WRIT_JOURNAL") == before


async def test_journal_that_lets_writers_limit_the_life_of_an_event_is_reported(bus: NatsBus) -> None:
    await provision(bus, [], SIZES)
    before = await config_of(bus, "STREAM.INFO.WRIT_JOURNAL")
    await call(bus.replies, "STREAM.UPDATE.WRIT_JOURNAL", {**before, "allow_msg_ttl": True})
    with pytest.raises(BusRefused, match="TTL"):  # NATS cannot turn it off again
        await provision(bus, [], SIZES)


async def test_event_that_a_limit_removed_is_missed_by_a_service_that_just_starts(tmp_path: Path) -> None:
    async with writ_server(tmp_path, pools=()) as server:
        admin, executor = await server.bus("bootstrap"), await server.bus("executor")
        for line in ("k", "erased"):
            await executor.replies.one(f"writ.journal.security.{line}", b"1", timeout=SOON)
        config = await config_of(admin, "STREAM.INFO.WRIT_JOURNAL")
        await call(admin.replies, "STREAM.UPDATE.WRIT_JOURNAL", {**config, "max_msgs_per_subject": 1})
        await executor.replies.one("writ.journal.security.erased", b"2", timeout=SOON)
        alarms: list[str] = []
        guard = JournalGuard(executor.journal, Metrics(()), alarms.append)
        assert await guard.compare()
        assert guard.problem == "1 event up to 3: neither in the journal nor in an archive"


async def test_new_pool_gets_its_consumer_and_the_others_keep_theirs(bus: NatsBus) -> None:
    await provision(bus, ["a"], SIZES)
    await provision(bus, ["a", "b"], SIZES, ack_wait=5.0)
    assert (await config_of(bus, "CONSUMER.INFO.WRIT_JOURNAL.agent-a"))["ack_wait"] == 5_000_000_000
    assert (await config_of(bus, "CONSUMER.INFO.WRIT_JOURNAL.agent-b"))["filter_subject"].endswith(".*.b.>")


async def test_consumer_of_an_earlier_release_is_changed_after_a_restart_of_the_server(tmp_path: Path) -> None:
    # The first reply of nats-server to an update after its restart has the former configuration.
    store = f'jetstream: {{ store_dir: "{tmp_path / "js"}" }}'
    earlier = {**consumer("a"), "filter_subject": "writ.journal.op.*.*.dispatched.a.>"}
    async with open_server(tmp_path, store) as (_, url):
        bus = await connect(anybody(url))
        await provision(bus, [], SIZES)
        create = f"$JS.API.CONSUMER.CREATE.WRIT_JOURNAL.agent-a.{earlier['filter_subject']}"
        request = {"stream_name": "WRIT_JOURNAL", "config": earlier}
        await bus.replies.one(create, msgspec.json.encode(request), timeout=SOON)
        await bus.close()
    async with open_server(tmp_path, store) as (_, url):
        bus = await connect(anybody(url))
        await provision(bus, ["a"], SIZES)
        assert differences(consumer("a"), await config_of(bus, "CONSUMER.INFO.WRIT_JOURNAL.agent-a")) == []
        await bus.close()


async def test_stream_that_cannot_be_changed_is_reported(bus: NatsBus) -> None:
    wrong = {"name": "WRIT_JOURNAL", "subjects": ["writ.journal.>"], "storage": "memory", "max_bytes": 1 << 20}
    await bus.replies.one("$JS.API.STREAM.CREATE.WRIT_JOURNAL", msgspec.json.encode(wrong), timeout=SOON)
    with pytest.raises(BusRefused, match="WRIT_JOURNAL"):
        await provision(bus, [], SIZES)


@pytest.mark.parametrize("stream", ["WRIT_JOURNAL", "WRIT_PARAMS", "WRIT_POLICIES", "WRIT_RESULTS", "WRIT_SCANS"])
async def test_provision_returns_once_each_stream_answers_reads(
    bus: NatsBus, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    one, silent = bus.replies.one, 2

    async def one_but_reads(subject: str, data: bytes, **rest: Any) -> Any:
        nonlocal silent
        if subject.startswith(f"$JS.API.DIRECT.GET.{stream}.") and silent:
            silent -= 1
            raise Unreachable("nobody listens")
        return await one(subject, data, **rest)

    monkeypatch.setattr(bus.replies, "one", one_but_reads)
    await provision(bus, [], SIZES)
    assert silent == 0
    silent = 1000
    with pytest.raises(Unreachable, match=f"the NATS servers do not answer for reads of stream {stream}: nobody"):
        await provision(bus, [], SIZES, patience=0.2)


async def test_too_old_server_is_reported(bus: NatsBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("writ_nats_server.streams.API_LEVEL", 99)
    with pytest.raises(BusRefused, match="API level is 5, Writ needs 99"):
        await provision(bus, [], SIZES)


def test_field_that_the_server_dropped_is_reported() -> None:
    (journal, *_) = streams(SIZES)
    there = {name: value for name, value in journal.items() if name != "allow_atomic"}
    assert differences(journal, there) == ["allow_atomic is None, not True"]
    assert differences(journal, {**journal, "allow_atomic": False}) == ["allow_atomic is False, not True"]
    assert differences({"deny_delete": False, "max_deliver": 0}, {}) == []


async def test_provision_is_permitted_to_the_bootstrap_user_alone(tmp_path: Path) -> None:
    async with writ_server(tmp_path, pools=()) as server:
        for user in ("executor", "policy", "audit", "status", "alice"):
            with pytest.raises(Forbidden):
                await provision(await server.bus(user), [], SIZES)

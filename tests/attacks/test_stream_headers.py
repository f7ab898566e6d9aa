"""Headers by which NATS would erase, replace or schedule events, sent by each key that may write to a stream."""

import itertools
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.attacks.test_reply_injection import concrete, may

from writ_bus.grammar import matches
from writ_bus.nats.bus import NatsBus
from writ_contracts import subjects
from writ_nats_server.config import Rights, parties, rights
from writ_testing.peers.nats_server import WritServer, writ_server
from writ_testing.suites.bus_fixture import SOON

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEPT = {subjects.JOURNAL_STREAM: subjects.JOURNAL, subjects.POLICIES_STREAM: subjects.POLICIES}
OTHERS = (f"writ.journal.op.bob.{'b' * 26}.granted", "$JS.API.STREAM.DELETE.WRIT_JOURNAL", "writ.params.x")
REFUSED: tuple[dict[str, str], ...] = (
    {"Nats-Rollup": "all"},
    {"Nats-Rollup": "sub"},
    {"Nats-TTL": "1s"},
    {"Nats-TTL": "never"},
    {"Nats-Incr": "1"},
    *({"Nats-Schedule": "@at 2000-01-01T00:00:00Z", "Nats-Schedule-Target": one} for one in OTHERS),
    {"Nats-Expected-Stream": "WRIT_PARAMS"},
)
"""Headers with which nothing is stored at all."""
TRACED: tuple[dict[str, str], ...] = (
    *({"Nats-Trace-Dest": one} for one in OTHERS),
    *({"Nats-Trace-Dest": one, "Nats-Trace-Only": "1"} for one in OTHERS),
)
"""Headers which have the server send its trace of the message to a subject of the sender's choice."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WritServer]:
    async with writ_server(Path(tmp_path_factory.mktemp("nats")), scanners=("trivy",)) as server:
        yield server


def rights_of(server: WritServer, key: str) -> Rights:
    return next(rights(party) for party in parties(server.plan) if party.name == key)


def written_by(own: Rights) -> list[str]:
    """Return a subject of each filter of the kept streams on which the key may publish."""
    found = [one for one in own.publish if any(matches(kept, one.replace("*", "x")) for kept in KEPT.values())]
    return list(concrete(one.replace("*", "x") for one in found))


async def after_one_each(
    thief: NatsBus, admin: NatsBus, written: Iterable[str]
) -> dict[str, tuple[int, dict[str, int]]]:
    """Store one message on each subject, which comes after all before it. Return the last sequence of each stream, and
    the number of its messages by subject.
    """
    for subject in written:
        await thief.replies.one(subject, b"{}", timeout=SOON)
    found = {}
    for name in subjects.STREAMS:
        reply = await admin.replies.one(f"$JS.API.STREAM.INFO.{name}", b'{"subjects_filter":">"}', timeout=SOON)
        state = json.loads(reply.data)["state"]
        found[name] = (state["last_seq"], state.get("subjects", {}))
    return found


@pytest.mark.parametrize("key", ["executor", "policy", "audit"])
async def test_headers_erase_no_event_and_write_none_elsewhere(server: WritServer, key: str) -> None:
    thief, own = await server.bus(key), rights_of(server, key)
    written = written_by(own)
    assert len(written) > 1
    async with server.connected("bootstrap") as admin:
        before = await after_one_each(thief, admin, written)
        for subject, headers in itertools.product(written, REFUSED):
            await thief.connection.publish(subject, b"{}", headers=headers)
        refused = await after_one_each(thief, admin, written)
        for name, (last, counts) in refused.items():
            assert counts == {one: n + (one in written) for one, n in before[name][1].items()}
            assert last == before[name][0] + sum(one in written for one in counts)
        for subject, headers in itertools.product(written[:2], TRACED):
            await thief.connection.publish(subject, b"{}", headers=headers)
        traced = await after_one_each(thief, admin, written)
    for name, (_, counts) in traced.items():
        assert [one for one, n in refused[name][1].items() if counts.get(one, 0) < n] == []
        assert [one for one in counts if one not in refused[name][1] and not may(own, one)] == []

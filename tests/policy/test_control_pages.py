"""Stops, emergencies, approval windows and sessions are listed in pages, however many of them are in force."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import structs
from tests.policy.replica import Asking
from tests.policy.test_analysis_queries import Vouched
from tests.policy.test_sessions import Sessions

from writ_client.operations.sessions import Sessions as SessionsOfClient
from writ_contracts.errors import Invalid
from writ_contracts.policy.stops import Reach
from writ_contracts.policy.versions import EmergencyView, StopView, WindowView
from writ_contracts.wire import encode
from writ_policy.endpoints import sessions as session_queries
from writ_policy.state.control_pages import Entry, entries, page
from writ_rules.engine.control import ControlState, Emergency, Stop
from writ_rules.engine.policy_file.approval_windows import ApprovalWindow
from writ_trust.keys import Key, generate_seed

NOW = 1000.0


def stop(number: int, targets: Sequence[str] = ("*",)) -> Stop:
    return Stop(
        id=f"stop-{number:03}", reach=Reach(targets=tuple(targets)), reason="fire", until=None, by="bot", since=number
    )


def emergency(number: int) -> Emergency:
    return Emergency(
        id=f"emergency-{number}", scope=(), targets=(), reason="fire", by="a", person="a", since=number, until=NOW + 1
    )


def window(number: int) -> ApprovalWindow:
    few = frozenset({"x"})
    return ApprovalWindow(
        id=f"window-{number}", by="a", operations=few, targets=few, uses=3, since=number, until=NOW + 1, reason="",
        sequence=number,
    )  # fmt: skip


@dataclass
class AllPages:
    """The pages from the first one on, as a client reads them."""

    ids: list[str]
    sizes: list[int]

    @classmethod
    async def read(cls, found: Sequence[Entry]) -> "AllPages":
        ids, sizes, after = list[str](), list[int](), ""
        while True:
            one = await page(found, after, used)
            listed: list[StopView | EmergencyView | WindowView] = [*one.stops, *one.emergencies, *one.windows]
            listed.sort(key=lambda entry: -entry.since)
            ids += [entry.id for entry in listed]
            sizes.append(len(encode(listed)))
            assert one.more == len(found) - len(ids)
            if not one.last:
                return cls(ids, sizes)
            after = one.last


async def used(_window: str) -> Sequence[str]:
    return ["operation"]


async def test_pages_have_every_entry_once_and_the_latest_first() -> None:
    control = ControlState(
        stops=tuple(stop(number) for number in range(0, 450, 2)),
        emergencies=(emergency(1), emergency(301)),
        windows=tuple(window(number) for number in range(3, 23, 2)),
    )
    read = await AllPages.read(entries(control, NOW))
    numbers = [int(one.rpartition("-")[2]) for one in read.ids]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(read.ids)) == len(read.ids) == 225 + 2 + 10
    assert len(read.sizes) == 2


async def test_a_page_of_large_entries_fits_into_one_message() -> None:
    targets = [f"{number:064}" for number in range(256)]
    read = await AllPages.read(entries(ControlState(stops=tuple(stop(number, targets) for number in range(130))), NOW))
    assert len(read.ids) == 130
    assert max(read.sizes) < 1_200_000


async def test_an_entry_that_comes_or_goes_between_two_pages_moves_no_other() -> None:
    stops = [stop(number) for number in range(300)]
    first = await page(entries(ControlState(stops=tuple(stops)), NOW), "", used)
    later = [*stops[:99], *stops[101:], stop(300)]  # the last of the first page, and the next one, were lifted
    rest = await page(entries(ControlState(stops=tuple(later)), NOW), first.last, used)
    assert [one.id for one in rest.stops] == [f"stop-{number:03}" for number in range(98, -1, -1)]
    assert (rest.more, rest.last) == (0, "")


async def test_entries_of_one_moment_are_not_skipped() -> None:
    stops = tuple(structs.replace(stop(number), since=1.5) for number in range(250))
    assert len(set((await AllPages.read(entries(ControlState(stops=stops), NOW))).ids)) == 250


@pytest.mark.parametrize("after", ["x", "stop-001", " 5"])
async def test_a_text_that_is_no_cursor_is_refused(after: str) -> None:
    with pytest.raises(Invalid, match="after"):
        await page(entries(ControlState(stops=(stop(1),)), NOW), after, used)


async def test_the_client_lists_the_open_sessions_of_all_pages(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    asking.files.policy({"name": "restarts", "operations": ["service_restart"], "allowed": True})
    sessions = Sessions(asking)
    opened = {await sessions.open(Key(generate_seed())) for _ in range(5)}
    monkeypatch.setattr(session_queries, "MOST_SESSIONS", 2)
    first = await sessions.listed("alice", asking.files.keys["alice"].public)
    assert (len(first.sessions), first.more) == (2, 3)
    bus: Any = Vouched(asking, "alice", "alice")
    client: Any = None  # lists alone need no requests
    listed = await SessionsOfClient(client, bus, "alice").open_ones()
    assert {one.id for one in listed.sessions} == opened
    assert (len(listed.sessions), listed.more) == (5, 0)

"""Events about refusals of NATS are bounded, and no sender delays or hides those of another one."""

import re

from writ_audit.server_log.repeats import TOTAL_BURST, LoggedRefusal, repeats
from writ_contracts.agents import SecurityKind


def refused(sender: str, *, proven: bool = True) -> LoggedRefusal:
    kind: SecurityKind = "permission_violation" if proven else "authentication_failed"
    return LoggedRefusal(kind=kind, sender=sender, detail="x", proven=proven)


def test_repeats_of_a_sender_are_counted_in_its_next_event() -> None:
    state = repeats(0.0)
    assert sum(state.take(refused("a"), 0.0) is not None for _ in range(1_000)) == 5
    assert state.due(1.0) == []
    [late] = state.due(31.0)
    assert late.detail == "x; 994 more since the last event about this sender"
    assert state.due(100.0) == []


def test_flood_of_refused_logins_neither_delays_nor_loses_a_violation() -> None:
    state = repeats(0.0)
    for number in range(20_000):
        state.take(refused(str(number), proven=False), number / 100)
        if number % 100 == 0:
            state.due(number / 100)
    assert state.take(refused("bot"), 200.0) is not None


def test_violations_of_one_sender_leave_room_for_another_one() -> None:
    state = repeats(0.0)
    for number in range(3_000):
        state.take(refused("bot"), number / 10)
        state.due(number / 10)
    assert state.take(refused("mallory"), 300.0) is not None


def test_event_that_there_is_no_room_for_takes_nothing_of_its_senders_limit() -> None:
    state = repeats(0.0)
    for number in range(int(TOTAL_BURST)):
        assert state.take(refused(str(number)), 0.0) is not None
    assert [state.take(refused("late"), 0.0) for _ in range(10)] == [None] * 10
    [late] = state.due(5.0)
    assert late.detail == "x; 9 more since the last event about this sender"
    assert state.proven.reported["permission_violation", "late"].pace.events == 1


def test_refusals_left_out_are_not_forgotten_for_those_of_further_senders() -> None:
    state = repeats(0.0)
    for number in range(5_000):
        state.take(refused(str(number), proven=False), 0.0)
    found = [one for second in range(1, 40_000, 5) for one in state.due(second)]
    counted = [int(match[1]) for one in found if (match := re.search(r"; (\d+) more", one.detail))]
    assert TOTAL_BURST + len(found) + sum(counted) == 5_000
    assert "50" in {one.sender for one in found}


def test_client_whose_key_was_removed_gives_few_events_however_long_it_tries() -> None:
    state = repeats(0.0)
    found = list[LoggedRefusal]()
    for now in range(0, 24 * 3600, 2):
        found += [one for one in (state.take(refused("h", proven=False), now), *state.due(now)) if one]
    assert len(found) < 40
    assert "1799 more" in found[-1].detail


def test_sender_that_was_silent_for_long_begins_again() -> None:
    state = repeats(0.0)
    for now in range(1_000):
        state.take(refused("bot"), now)
    state.due(3_000)
    assert [state.take(refused("bot"), 9_000.0) is not None for _ in range(6)] == [True] * 5 + [False]


def test_senders_together_are_bounded() -> None:
    state = repeats(0.0)
    taken = [state.take(refused(str(number)), 0.0) for number in range(5_000)]
    assert sum(one is not None for one in taken) == TOTAL_BURST
    assert len(state.proven.reported) + len(state.proven.waiting) <= 1_001

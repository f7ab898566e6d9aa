"""The state of an operation after each event: every pair, every path, and the invariants on all paths."""

from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.contracts.messages import sample

from writ_contracts import journal
from writ_contracts.errors import Conflict
from writ_contracts.life import (
    OPEN,
    TABLE,
    AcceptedLife,
    CancellingLife,
    ControlLife,
    DispatchedLife,
    GrantedLife,
    Life,
    RefusedLife,
    State,
    advance,
    advances,
    apply,
    fold,
    is_open,
)
from writ_testing.each_case import each_case

EVENTS: dict[str, journal.OperationEvent] = {
    str(kind.__struct_config__.tag): sample(kind)  # type: ignore[misc]
    for kind in get_args(journal.OperationEvent)
}
AT_ONCE: Any = EVENTS["requested"]
"""A request that was dispatched with the same event."""
EVENTS["requested"] = structs.replace(AT_ONCE, dispatched=None)
ENDS = ("refused", "finished", "unknown")
LONGEST = 12
ARCHIVED: Any = sample(journal.Archived)


def paths(state: State = State.ABSENT, so_far: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every history within the table, up to a length; retries are limited."""
    yield so_far
    if len(so_far) < LONGEST:
        for (before, event), after in TABLE.items():
            if before is state:
                yield from paths(after, (*so_far, event))


PATHS = sorted(set(paths()))


def numbered(path: Sequence[str]) -> list[tuple[int, journal.OperationEvent]]:
    """Return the events with sequences that have gaps, as in a shared journal."""
    return [(10 * number, EVENTS[name]) for number, name in enumerate(path, 1)]


@each_case(("state", "event"), list(product(State, EVENTS)))
def test_pair_of_state_and_event_is_in_the_table_or_a_conflict(state: State, event: str) -> None:
    if (state, event) in TABLE:
        assert advance(state, event) is TABLE[state, event]
    else:
        with pytest.raises(Conflict, match=f"an operation that is {state} takes no '{event}'"):
            advance(state, event)


def test_table_names_only_events_that_exist_and_reaches_every_state() -> None:
    assert {event for _, event in TABLE} == set(EVENTS)
    assert set(TABLE.values()) | {State.ABSENT} == set(State)


def test_open_state_can_reach_an_end() -> None:
    for state in OPEN:
        ends = {event for (before, event) in TABLE if before is state}
        assert ends & {"finished", "awaiting_approval", "dispatched", "granted", "unknown"}
        assert any(path[-1] in ENDS for path in PATHS if state in walk(path))


def walk(path: Sequence[str]) -> list[State]:
    """Return the states along a path."""
    states = [State.ABSENT]
    for event in path:
        states.append(TABLE[states[-1], event])
    return states


def test_life_has_more_than_100_paths() -> None:
    assert len(PATHS) > 100


@each_case("path", [path for path in PATHS if len(path) <= 6], ids=">".join)
def test_history_is_folded_to_the_state_of_the_table(path: tuple[str, ...]) -> None:
    life = fold(numbered(path))
    assert life.state is walk(path)[-1]
    assert life.sequence == 10 * len(path)
    assert life.first_sequence == (10 if path else 0)
    assert life.open is (life.state in OPEN)
    assert isinstance(life, AcceptedLife) is ("requested" in path)
    assert isinstance(life, RefusedLife) is ("refused" in path)
    assert isinstance(life, DispatchedLife) is ("dispatched" in path)
    assert isinstance(life, GrantedLife) is ("granted" in path)
    assert isinstance(life, CancellingLife) is ("cancel_requested" in path and "granted" in path)
    assert isinstance(life, ControlLife) is ("started" in path and "dispatched" not in path)


PHASES = {
    State.REQUESTED: "requested",
    State.AWAITING_APPROVAL: "awaiting_approval",
    State.APPROVED: "approved",
    State.DISPATCHED: "dispatched",
}


@each_case("path", [path for path in PATHS if len(path) <= 6], ids=">".join)
def test_open_operation_names_the_event_that_began_its_phase(path: tuple[str, ...]) -> None:
    life = fold(numbered(path))
    if is_open(life):
        begins = {PHASES[life.state]} if life.state in PHASES else {"started", "granted"}
        assert life.phase is next(EVENTS[name] for name in reversed(path) if name in begins)
        assert life.period_start is life.phase
    elif isinstance(life, AcceptedLife):
        assert life.period_start is life.end


def test_end_is_followed_by_nothing_but_one_resolution_of_unknown() -> None:
    for path in PATHS:
        for before, after in pairwise(path):
            assert before not in ("refused", "finished", "resolved", "archived") or after == "archived"
            assert before != "unknown" or after in ("resolved", "archived")


def test_path_has_at_most_one_outcome_besides_unknown() -> None:
    for path in PATHS:
        assert sum(event in ("refused", "finished", "resolved") for event in path) <= 1
        assert path.count("unknown") <= 1
        life = fold(numbered(path))
        assert (life.outcome is not None) is (life.state in (State.ENDED, State.UNKNOWN, State.ARCHIVED))


def test_resolved_unknown_has_the_outcome_of_its_resolution() -> None:
    path = ["requested", "dispatched", "granted", "unknown"]
    assert fold(numbered(path)).outcome == "unknown"
    resolved = structs.replace(EVENTS["resolved"], outcome="failed")
    assert apply(fold(numbered(path)), resolved, 99).outcome == "failed"


def test_retry_has_its_own_attempt_number() -> None:
    first = fold(numbered(["requested", "dispatched", "granted"]))
    again = structs.replace(EVENTS["dispatched"], attempt=2)
    life = apply(first, again, 99)
    assert life.state is State.DISPATCHED
    assert isinstance(life, GrantedLife)
    assert life.dispatched.attempt == 2


def test_history_without_its_archived_beginning_is_folded_from_the_rest() -> None:
    for left in (["dispatched", "granted", "finished"], ["granted", "unknown"], ["finished"], []):
        life = fold(numbered([*left, "archived"]))
        assert (life.state, life.outcome, life.open) == (State.ARCHIVED, ARCHIVED.outcome, False)
        assert life.what is life.archived is EVENTS["archived"]
        assert life.sequence == 10 * (len(left) + 1)
    with pytest.raises(Conflict):
        fold(numbered(["granted", "finished"]))


@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=12))
def test_sequence_of_any_events_folds_or_is_a_conflict(names: list[str]) -> None:
    known: Any = Life()
    for number, name in enumerate(names, 1):
        before = known.state
        try:
            known = apply(known, EVENTS[name], number)
        except Conflict:
            assert (before, name) not in TABLE
            return
        if before is State.ENDED and name != "archived":
            pytest.fail(f"{name} followed an end")
    assert known == fold(list(enumerate((EVENTS[name] for name in names), 1)))


def test_request_with_its_dispatch_folds_as_two_events() -> None:
    life = fold([(7, AT_ONCE)])
    assert isinstance(life, DispatchedLife)
    assert (life.state, life.sequence, life.first_sequence) == (State.DISPATCHED, 7, 7)
    assert life.requested == AT_ONCE
    assert life.phase == life.dispatched
    first, terms = life.dispatched, AT_ONCE.dispatched
    assert (first.attempt, first.start_by, first.decision_digest) == (1, terms.start_by, terms.decision_digest)
    same = set(first.__struct_fields__) - {"attempt", "start_by", "decision_digest", "parameters", "over", "noticed"}
    assert {name: getattr(first, name) for name in same} == {name: getattr(AT_ONCE, name) for name in same}
    assert first.parameters == AT_ONCE.effective


def test_request_with_its_dispatch_is_followed_by_the_events_after_dispatched() -> None:
    assert advances(State.ABSENT, AT_ONCE) is State.DISPATCHED
    assert advances(State.ABSENT, EVENTS["requested"]) is State.REQUESTED
    for state in set(State) - {State.ABSENT}:
        assert advances(state, AT_ONCE) is None
    two = fold([(1, EVENTS["requested"]), (2, EVENTS["dispatched"]), (3, EVENTS["granted"]), (4, EVENTS["finished"])])
    one = fold([(1, AT_ONCE), (3, EVENTS["granted"]), (4, EVENTS["finished"])])
    assert (one.state, type(one), one.outcome) == (two.state, type(two), two.outcome)


def test_until_a_grant_a_dispatch_of_the_first_attempt_replaces_the_one_of_the_request() -> None:
    """An executor of the release before writes it."""
    again = structs.replace(EVENTS["dispatched"], id="again", attempt=1)
    life = fold([(1, AT_ONCE), (2, again)])
    assert isinstance(life, DispatchedLife)
    assert (life.state, life.sequence, life.first_sequence) == (State.DISPATCHED, 2, 1)
    assert life.dispatched is life.phase is again
    ended = fold([(1, AT_ONCE), (2, again), (3, EVENTS["granted"]), (4, EVENTS["finished"])])
    assert ended.state is State.ENDED
    third = structs.replace(again, id="third")
    for impossible in ([again, third], [structs.replace(again, attempt=2)]):
        with pytest.raises(Conflict, match="dispatched takes no 'dispatched'"):
            fold(list(enumerate([AT_ONCE, *impossible], 1)))
    with pytest.raises(Conflict, match="dispatched takes no 'dispatched'"):
        fold([(1, EVENTS["requested"]), (2, again), (3, third)])

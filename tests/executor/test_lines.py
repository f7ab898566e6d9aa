"""Queues of targets and limits: the same answers as a search over all, in time independent of their number."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.executor.test_overdue import life as life_of

from writ_contracts.decisions import RuleLimit
from writ_contracts.life import AcceptedLife, State
from writ_contracts.subjects import limit_line, target_lock
from writ_executor.journal import lines
from writ_executor.journal.index import Index
from writ_executor.journal.lines import HOLDING, OperationLine, OrderedIds, may_start

LIMIT = RuleLimit(rule="few", kind="max_concurrent", most=3)
STATES = [State.REQUESTED, State.AWAITING_APPROVAL, State.APPROVED, State.DISPATCHED, State.STARTED, State.ENDED]
steps = st.lists(st.tuples(st.integers(1, 30), st.sampled_from(STATES)), max_size=120)


def name_of(number: int) -> str:
    return f"op-{number:05}"


def life(number: int, state: State, **changed: Any) -> AcceptedLife:
    made = life_of(state, operation_id=name_of(number), **changed)
    return structs.replace(made, sequence=number, first_sequence=number)


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(0, 30))
def test_queue_of_a_target_agrees_with_a_search_over_all_operations(taken: list[tuple[int, State]], up_to: int) -> None:
    line, naive = OperationLine(), dict[str, AcceptedLife]()
    for number, state in taken:
        one = life(number, state)
        line.put(name_of(number), one)
        naive[name_of(number)] = one
        if not one.open:
            del naive[name_of(number)]
    in_order = sorted(naive.values(), key=lambda one: one.first_sequence)
    waiting = [one.first_sequence for one in in_order if may_start(one) and one.first_sequence <= up_to]
    assert list(dict.fromkeys(one.first_sequence for one in line.waiting(up_to))) == waiting
    assert {one.first_sequence for one in line.holding()} == {
        one.first_sequence for one in in_order if one.state in HOLDING
    }
    assert line.latest() == (in_order[-1] if in_order else None)
    assert len(line) == len(naive)


def test_removed_operations_do_not_stay_behind_one_that_waits() -> None:
    ordered = OrderedIds()
    for number in range(10_000):
        ordered.add(number, name_of(number))
        if number:
            ordered.discard(name_of(number))
    assert list(ordered) == [name_of(0)]
    assert len(ordered._keys) < 200


@pytest.mark.parametrize("limits", [[], [LIMIT]], ids=["target", "limit"])
def test_a_drain_of_ten_thousand_queued_operations_is_linear(
    monkeypatch: pytest.MonkeyPatch, limits: list[RuleLimit]
) -> None:
    index, number, looked = Index(), 10_000, 0
    risk = "read" if limits else "change"
    index.sequence = 0
    for each in range(1, number + 1):
        index.put(life(each, State.REQUESTED, limits=limits, risk=risk))
    index.sequence = number
    waiting = OperationLine.waiting

    def counted(self: OperationLine, up_to: int) -> Any:
        nonlocal looked
        for one in waiting(self, up_to):
            looked += 1
            yield one

    monkeypatch.setattr(OperationLine, "waiting", counted)
    line = limit_line(LIMIT.rule, LIMIT.kind) if limits else target_lock("web-1")
    order = []
    while (one := index.next_in(line)) is not None:
        order.append(one.first_sequence)
        for state, sequence in ((State.DISPATCHED, 1), (State.ENDED, 2)):
            index.put(structs.replace(one, state=state, sequence=number + 3 * one.first_sequence + sequence))
    assert order == list(range(1, number + 1))
    assert looked <= 2 * number


def test_a_limit_line_over_one_busy_target_asks_each_operation_once(monkeypatch: pytest.MonkeyPatch) -> None:
    index, number = Index(), 2_000
    for each in range(1, number + 1):
        index.put(life(each, State.DISPATCHED if each == 1 else State.REQUESTED, limits=[LIMIT]))
    index.sequence = number
    calls = 0

    def may_start_counted(one: AcceptedLife) -> bool:
        nonlocal calls
        calls += 1
        return may_start(one)

    monkeypatch.setattr(lines, "may_start", may_start_counted)
    assert index.next_in(limit_line(LIMIT.rule, LIMIT.kind)) is None
    assert calls <= number

"""Reminders of pending operations: halfway and near the end, once by each replica, and none for short ones."""

from writ_executor.steps.reminders import Reminders


def test_reminders_come_halfway_and_near_the_end() -> None:
    reminders = Reminders()
    ages = [at for at in range(0, 3_600, 60) if reminders.due("a", at, 3_600)]
    assert ages == [1_800, 3_240]


def test_a_restarted_replica_repeats_no_reminder() -> None:
    reminders = Reminders()
    assert not reminders.due("a", 2_000, 3_600)
    assert reminders.due("a", 3_300, 3_600)


def test_a_short_time_to_decide_has_no_reminder() -> None:
    reminders = Reminders()
    assert not any(reminders.due("a", at, 299) for at in range(299))


def test_ended_operations_are_forgotten() -> None:
    reminders = Reminders()
    reminders.due("a", 0, 3_600)
    reminders.forget_others([])
    assert not reminders.due("a", 2_000, 3_600)

"""Environment variables that nothing reads are reported with the name that was meant."""

import pytest

from writ_runtime.unread_variables import unread_variables


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WRIT_AUDIT_LEVEL", "SYSTEMMANAGER_AUDIT_LEVEL"),
        ("WRIT_POLICY_MODE", "SYSTEMMANAGER_POLICY_MODE"),
        ("SYSTEMMANAGER_LEASE", "WRIT_LEASE"),
        ("SYSTEMMANAGER_AUDITLEVEL", "SYSTEMMANAGER_AUDIT_LEVEL"),
        ("WRIT_HOEM", "WRIT_HOME"),
    ],
)
def test_unread_variable_names_the_one_that_was_meant(name: str, meant: str) -> None:
    assert unread_variables({name: "a secret", "PATH": "/bin"}) == [f"{name} is not read; did you mean '{meant}'?"]


def test_empty_variable_counts_as_unset() -> None:
    assert unread_variables({"WRIT_AUDIT_LEVEL": ""}) == []


@pytest.mark.parametrize("name", ["WRIT_HOME", "SYSTEMMANAGER_AUDIT_LEVEL", "WRIT_SESSIONS", "WRIT_SLACK_TEAM", "HOME"])
def test_known_and_foreign_variables_are_not_reported(name: str) -> None:
    assert unread_variables({name: "x"}) == []

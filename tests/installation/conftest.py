"""Fixtures for tests of an installation."""

import pytest


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every process more time to answer how it is, at its start and for `status`."""
    monkeypatch.setattr("writ_installation.processes.readiness.PROBE_SECONDS", 10.0)
    monkeypatch.setattr("writ_installation.status.control.STATUS_SECONDS", 10.0)

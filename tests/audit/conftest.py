"""For all tests of audit: a query waits for the index, however slow the machine is."""

import pytest

from writ_audit import reading


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give queries time for the whole index; these tests are about results, not about the limit of two seconds."""
    monkeypatch.setattr(reading, "CATCH_UP", 25.0)

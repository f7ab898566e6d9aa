"""A sender of unreadable messages fills no log."""

import logging

import pytest

from writ_runtime.logs import Log, fields_of
from writ_runtime.sender_warnings import SenderWarnings


def test_warnings_of_one_sender_are_few_and_count_those_left_out(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    warnings = SenderWarnings(Log("writ.test"), lambda: now)
    with caplog.at_level(logging.WARNING):
        for _ in range(1_000):
            warnings.warning("heartbeat.refused", "a", error="no JSON")
        warnings.warning("heartbeat.refused", "b", error="no JSON")
        now = 61.0
        for _ in range(2):
            warnings.warning("heartbeat.refused", "a", error="no JSON")
    lines = [fields_of(record) for record in caplog.records]
    assert [dict(one) for one in lines[9:]] == [
        {"sender": "a", "error": "no JSON"},
        {"sender": "b", "error": "no JSON"},
        {"sender": "a", "error": "no JSON", "left_out": 990},
    ]

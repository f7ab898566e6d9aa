"""A backend's result is checked before it is sent, without an extra encoding of its large texts."""

from typing import Any

import pytest

from writ_agent.backends.port import TaskResult
from writ_agent.work import running
from writ_agent.work.running import _check_result
from writ_contracts.large_texts import LARGE
from writ_contracts.wire import canonical


@pytest.mark.parametrize("output", [{"a": "\ud800"}, {"\ud800": ""}, {"a": "x" * LARGE + "\ud800"}, {"a": object()}])
def test_result_that_cannot_be_sent_is_refused(output: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        _check_result(TaskResult(outcome="succeeded", output=output))


def test_large_text_is_not_encoded_to_be_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def noted(value: Any) -> bytes:
        data = canonical(value)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(running, "canonical", noted)
    _check_result(TaskResult(outcome="succeeded", output={"content": "x" * LARGE, "size": LARGE}))
    assert max(sizes) < LARGE

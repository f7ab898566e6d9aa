"""The command queries an agent's own module: a late reply is a clear error."""

import pytest

from writ_contracts.errors import Unreachable
from writ_installation.administration import targets


def test_an_agent_that_does_not_reply_is_reported_with_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "ENROL_SECONDS", 0.001)  # less than any interpreter takes to start
    with pytest.raises(Unreachable, match=r"the agent of backend ssh did not reply within 0\.001 s"):
        targets.ask_agent("ssh", ["leftovers"])

"""Versions of the policy that audit's process cannot compile within its limits: second decisions stay open."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.audit.test_decision_samples import sampling
from tests.policy.publishing import publishable
from tests.policy.second_decisions import recorded
from tests.policy.test_policy_reader import not_here

from writ_audit.version_compiler import RETRY_AFTER, VersionCompiler
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import ConfigError
from writ_contracts.operations import Catalogue
from writ_rules import policy_reader
from writ_runtime import subprocess_env

KILLED = (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
"""As by the limit of processor time."""
OUT_OF_MEMORY = (sys.executable, "-c", "raise MemoryError")


@pytest.mark.parametrize(("command", "status"), [(KILLED, "signal 9"), (OUT_OF_MEMORY, "status 1")])
async def test_decision_stays_open_if_its_version_reaches_a_limit(
    command: tuple[str, ...],
    status: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with publishable(tmp_path) as asking:
        about = asking.subject()
        record = await recorded(asking, about, await asking.decision(about))
        monkeypatch.setattr(policy_reader, "SMALL", 0)
        monkeypatch.setattr(policy_reader, "compile_document", not_here)
        monkeypatch.setattr(subprocess_env, "command", lambda *_: command)
        async with sampling(asking, tmp_path) as (samples, counted):
            samples.offer(record)
            assert await counted.get() == "open"
    [reason] = [one.fields["reason"] for one in caplog.records if one.message == "policy.not_compiled"]  # type: ignore[attr-defined]
    assert f"is not compiled: its process ended with {status}; it has 60 s" in reason


def test_version_that_failed_is_compiled_again_after_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    now, begun = [0.0], list[int]()
    run = subprocess.run

    def counted(*arguments: Any, **options: Any) -> Any:
        begun.append(1)
        return run(*arguments, **options)

    monkeypatch.setattr(policy_reader, "SMALL", 0)
    monkeypatch.setattr(subprocess_env, "command", lambda *_: KILLED)
    monkeypatch.setattr(subprocess, "run", counted)
    compiler = VersionCompiler(Catalogue(BUILT_IN), lambda: now[0])
    for at, attempts in ((0.0, 1), (RETRY_AFTER - 1, 1), (RETRY_AFTER + 1, 2)):
        now[0] = at
        with pytest.raises(ConfigError, match="signal 9"):
            compiler(b"policies: {name: p}", "version 1")
        assert len(begun) == attempts

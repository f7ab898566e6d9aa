"""Writ's files outside its home, below a root of a target, do not count as the target's files."""

from pathlib import Path
from typing import Any

import pytest
from tests.agent_local.conftest import Installation

from writ_agent_local.config import LocalAgentConfig
from writ_runtime.config import load
from writ_testing.exhaustive import some

VARIABLES = ("SYSTEMMANAGER_POLICY_CONFIG", "WRIT_INVENTORY", "WRIT_PRINCIPALS", "WRIT_AGENTS")


@pytest.mark.parametrize("variable", some(VARIABLES, "WRIT_INVENTORY"))
async def test_operations_cannot_write_the_files_that_decide_about_them(
    installation: Installation, variable: str
) -> None:
    target = installation.target()
    file = installation.folder / "root" / "decides.yaml"
    file.write_text("as it was")
    await installation.agent(**{variable: str(file)})
    requests: tuple[tuple[str, dict[str, Any]], ...] = (
        ("file_write", {"file_path": str(file), "content": "allowed: true"}),
        ("file_delete", {"file_path": str(file)}),
        ("file_copy", {"source_path": str(_other(installation)), "dest_path": str(file)}),
    )
    for operation, parameters in requests:
        number = await installation.executor.dispatch(operation, target, **parameters)
        receipt = await installation.executor.ended(number)
        assert (receipt.outcome, receipt.code, receipt.effect) == ("failed", "outside_roots", "none"), operation
    assert file.read_text() == "as it was"
    assert {path.name for path in file.parent.iterdir()} == {"decides.yaml", "other"}


def test_ceiling_of_the_host_is_its_own_file(tmp_path: Path) -> None:
    """Whoever could write it would lift it, by the agent that it limits."""
    environ = {"WRIT_POOL": "a", "WRIT_POLICY_KEY": "x", "WRIT_INSTALLATION": "a" * 26, "NATS_URL": "nats://127.0.0.1"}
    paths = {"WRIT_CEILING": tmp_path / "ceiling.yaml", "WRIT_STATE_DIR": tmp_path, "WRIT_KEY_FILE": tmp_path / "key"}
    config = load(LocalAgentConfig, {**environ, **{name: str(path) for name, path in paths.items()}})
    assert paths["WRIT_CEILING"] in config.own()


def _other(installation: Installation) -> Path:
    path = installation.folder / "root" / "other"
    path.write_text("x")
    return path

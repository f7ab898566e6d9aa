"""Before `writ up` starts: missing parts are named with their extra, and older packages of Writ are refused."""

import sys
from pathlib import Path

import pytest

from writ_contracts.errors import ConfigError, Unreachable
from writ_installation.backends import AGENT_KINDS, MODULE
from writ_installation.processes import installed_distributions
from writ_installation.processes.services import ProcessTable


def put(folder: Path, name: str, *files: str) -> None:
    info = folder / f"{name.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    for file in files:  # Python 3.13 names only those that exist
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).touch()


def test_installed_distribution_is_not_demanded() -> None:
    installed_distributions.require(ProcessTable().core)
    installed_distributions.refuse_former()


def test_missing_distribution_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed_distributions, "find_spec", lambda name: None)
    with pytest.raises(Unreachable, match=r"writ_policy, writ_executor.* install `writops\[server\]`"):
        installed_distributions.require(ProcessTable().core)
    with pytest.raises(Unreachable, match=r"install `writops\[server,agent-ssh\]`"):
        installed_distributions.require([*ProcessTable().core, AGENT_KINDS["ssh"].argv])


def test_commands_that_are_not_ours_are_not_looked_for() -> None:
    installed_distributions.require([("/bin/sleep", "1"), (*MODULE, "no_such_module")])


@pytest.mark.parametrize("file", ["writ_client/__init__.py", "_writ_client.pth"])
def test_former_distribution_of_writ_is_refused_with_the_way_to_replace_it(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "writ-client", file, "writ_client-0.1.0.dist-info/METADATA")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ConfigError, match=r"writ-client 0\.1\.0.* install `writops` into a new one"):
        installed_distributions.refuse_former()


def test_foreign_distribution_with_a_former_name_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "writ-agent", "somebody_elses/__init__.py")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    installed_distributions.refuse_former()

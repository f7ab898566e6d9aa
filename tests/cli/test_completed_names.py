"""Every option and argument with a known set of values completes them."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import click
import msgspec
import pytest
from tests.cli.test_help import commands

from writ_cli.arguments.shell_scripts import SCRIPTS
from writ_cli.main import COMPLETE, cli
from writ_contracts.inventory import Principal
from writ_installation.files import tokens
from writ_installation.files.gateway_tokens import create_token
from writ_installation.files.home import Home
from writ_testing.installations.installation import local_target, open_policy, prepare

FREE = {
    *("--reason", "--text", "--note", "--label", "--field", "--url", "--serial", "--client", "--session"),
    *("--for", "--timeout", "--settle", "--expires", "--since", "--until", "--at"),
    *("--listen", "--host", "--public-host", "--site-address", "--local", "--ssh", "--proxmox", "--docker"),
    *("--key-file", "--state-dir", "--file-root", "--mount-root", "--stack-dir", "--certificate", "--ca"),
    *("--host-key", "--policy-key", "--root", "--installation", "--digest", "--idempotency-key"),
    *("run --correlation-id", "leaf add --key", "principal add --key", "principal rotate --key"),
    *("target add name", "target rename new", "plugin new name", "credential relying-party origin"),
}
"""Texts, times, addresses, keys, paths on other hosts and new names: nobody knows their values before."""


def bare() -> Iterator[str]:
    """Yield the options and arguments that complete nothing, by their commands."""
    for path, command in commands(cli):
        for one in command.params:
            open_type = type(one.type).shell_complete is click.ParamType.shell_complete
            numeric = isinstance(one.type, click.types.IntParamType | click.types.FloatParamType)
            if isinstance(one, click.Option) and (one.is_flag or one.count):
                continue
            if open_type and not numeric and one._custom_shell_complete is None:
                name = one.name if isinstance(one, click.Argument) else max(one.opts, key=len)
                yield f"{' '.join(path)} {name}"


def test_every_option_and_argument_completes_or_takes_a_free_value() -> None:
    assert [one for one in bare() if not FREE.intersection((one, one.rpartition(" ")[2]))] == []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("completed")
    targets = [
        {**local_target("web-1", folder / "files"), "tags": ["web"]},
        {**local_target("db-1", folder / "files"), "tags": ["old"], "connection": {"host": "far"}},
    ]
    principals: list[tuple[str, dict[str, Any]]] = [
        ("alice", {}),
        ("claude", {"kind": "agent", "acts_for": "alice"}),
        ("hub", {"kind": "gateway", "roles": []}),
    ]
    return prepare(folder, targets=targets, principals=principals, policy=open_policy())


@pytest.fixture(autouse=True)
def in_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRIT_HOME", str(home.root))


def completed(*words: str, last: str = "", shell: str = "bash") -> list[str]:
    found = SCRIPTS[shell](cli, {}, "writ", COMPLETE).get_completions(list(words), last)
    return [one.value for one in found if one.type == "plain"]


def test_keys_and_tokens_are_completed_by_name_and_id(home: Home) -> None:
    assert completed("keys", "rotate", last="pol") == ["policy"]
    assert completed("keys", "lost", last="principal-a") == ["principal-alice"]
    made, _ = tokens.make(home, "local-far", "nats://127.0.0.1:4222", time.time() + 60)
    assert completed("agent", "revoke") == [made.id]
    claude = Principal(id="claude", kind="agent", key=home.make_key("principal-claude").public)
    _, entry = create_token(home.gateway_tokens, claude, now=time.time(), lifetime=60.0, note="")
    assert completed("token", "revoke") == [entry.id]
    assert completed("agent", "token", last="local-f") == ["local-far"]


def test_option_is_completed_by_the_argument_before_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    far = home.make_key("agent-local-far").public
    home.seed_file("agent-local-far").unlink()
    assert completed("keys", "rotate", "agent-local-far", "--key") == [far]
    scanner = SimpleNamespace(options=msgspec.defstruct("Options", ["severity"]))
    monkeypatch.setattr("writ_runtime.plugins.entry_points.load_scanners", lambda: {"trivy": scanner})
    assert completed("scan", "run", "trivy", "--with") == ["severity="]
    assert completed("scan", "run") == ["trivy"]


def test_principals_are_completed_by_their_kind() -> None:
    assert completed("principal", "add", "x", "--acts-for", last="a") == ["alice"]
    assert "claude" not in completed("principal", "acts-for", "claude")
    assert completed("principal", "add", "x", "--via") == ["hub"]
    assert completed("credential", "request", last="a") == ["alice"]
    assert completed("principal", "roles", "alice", last="op") == ["operator"]


def test_help_completes_commands_and_operations() -> None:
    assert completed("help", last="sta") == ["status"]
    assert completed("help", "keys", last="ro") == ["rotate"]
    assert completed("help", "run", last="service_resta") == ["service_restart"]
    assert completed("help", "keys", "rotate") == []


def test_search_completes_rules_and_each_of_its_columns() -> None:
    assert completed("audit", "search", "--rule") == ["tests_may"]
    assert completed("audit", "search", "--columns", last="who,out") == ["who,outcome"]
    assert "who,who" not in completed("audit", "search", "--columns", last="who,")


def test_entries_of_targets_complete_keys_and_tags() -> None:
    assert completed("target", "set", "db-1", last="connection.") == ["connection.host="]
    assert completed("target", "set", "web-1", "role=staging", last="ro") == []
    assert {"+old", "-web"} <= {*completed("target", "tag", "web-1")}
    assert completed("target", "tag", "web-1", last="+") == ["+old"]
    assert completed("target", "tag", "web-1", last="-w") == ["-web"]
    assert {"-web", "--output"} <= {*completed("target", "tag", "web-1", last="-")}
    assert completed("operations", "--backend", last="prox") == ["proxmox"]


@pytest.mark.parametrize(("shell", "value"), [("bash", "pause"), ("zsh", "quiesce=pause"), ("fish", "quiesce=pause")])
def test_parameter_with_a_closed_set_completes_its_values(shell: str, value: str) -> None:
    """Bash takes what stands before the sign for a word of its own."""
    assert completed("run", "backup_create", last="quiesce=p", shell=shell) == [value]
    assert completed("run", "service_restart", last="service_name=n", shell=shell) == []


def test_names_of_files_are_completed_beside_versions_and_contexts() -> None:
    for words in (("policy", "diff"), ("policy", "diff", "1"), ("op", "list", "--context")):
        found = SCRIPTS["bash"](cli, {}, "writ", COMPLETE).get_completions(list(words), "pol")
        assert [one.type for one in found] == ["file"], words

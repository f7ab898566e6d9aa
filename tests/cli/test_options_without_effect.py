"""Options that exclude each other: no option on the command line is dropped without a word."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.cli.commands import Command
from tests.cli.test_policy_files import LISTS, PRODUCTION, bare, writ

from writ_cli.main import cli
from writ_contracts.errors import Conflict
from writ_installation.administration.targets import NewTarget, SshAddress, _make_key
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_testing.installations.commands import WritResult

__all__ = ["bare"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    create_installation(home)
    return home


async def test_folder_beside_a_context_is_refused(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "alice.json"
    file.write_text((await command("context", "-o", "json")).stdout)
    named = ("--context", str(file), "--home", str(tmp_path / "other"))
    for words in (("target", "list"), ("run", "network_status", "-t", "a"), ("mcp", "config", "--client", "codex")):
        refused = await command(*words, *named)
        assert (refused.exit_code, refused.stdout) == (2, ""), refused
        assert f"{file} names an installation, so --home has no effect" in refused.stderr
    refused = await command("target", "list", *named[2:], WRIT_CONTEXT=str(file))
    assert (refused.exit_code, refused.stdout) == (2, "")
    judged = ("policy", "can-i", "network_status", "-t", "prod-web-1", "--policy", str(PRODUCTION), *map(str, LISTS))
    assert "--home has no effect" in (await command(*judged, *named)).stderr
    assert (await command("target", "list", *named[:2], WRIT_HOME=str(tmp_path / "other"))).exit_code == 0


@pytest.mark.parametrize("more", [LISTS[:2], LISTS[2:], ("--mode", "strict")])
def test_validation_by_the_running_writ_takes_no_lists_and_no_mode(bare: CliRunner, more: tuple[object, ...]) -> None:
    refused = writ(bare, "validate", PRODUCTION, "--running", *more)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"{more[0]}: the running Writ has its own" in refused.stderr


@pytest.mark.parametrize(
    ("layout", "form"),
    [("github", "json"), ("github", "table"), ("text", "json"), ("json", "yaml"), ("json", "table"), ("sarif", "yaml")],
)
def test_validation_has_one_format(bare: CliRunner, layout: str, form: str) -> None:
    refused = writ(bare, "validate", PRODUCTION, "--format", layout, "-o", form)
    assert (refused.exit_code, f"--output: --format is {layout}: leave one out" in refused.output) == (2, True)
    assert "production-security" not in refused.output


def test_validation_has_one_format_also_for_a_field(bare: CliRunner) -> None:
    refused = writ(bare, "validate", PRODUCTION, "--format", "text", "--field", "0.name")
    assert (refused.exit_code, "--field: --format is text" in refused.stderr) == (2, True)
    assert writ(bare, "validate", PRODUCTION, "--format", "json", "--field", "0.valid").stdout == "true\n"
    for layout, form in (("text", "table"), ("json", "json"), ("sarif", "json")):
        assert writ(bare, "validate", PRODUCTION, "--format", layout, "-o", form).exit_code == 0


async def keep_its_options(writ: Callable[..., Coroutine[Any, Any, WritResult]]) -> None:
    """While it is up: refuse an option that differs, and take one with the same value."""
    assert (await writ("up", "--executors", "1", "--health-port", "0", WRIT_NATS_PORT="4999")).status == 0
    for words in (("--health-port", "19555"), ("--executors", "2"), ("--no-agent", "x"), ("--gateway",)):
        refused = await writ("up", "--detach", *words)
        assert (refused.status, refused.out) == (2, "")
        assert f", with another {words[0]}; nothing changed: " in refused.err


@pytest.mark.parametrize("words", [("--listen", "::1"), ("--tls", "off"), ("--nats-port", "4333")])
def test_options_of_the_bundled_server_are_refused_beside_another_one(home: Home, words: tuple[str, str]) -> None:
    runner = CliRunner(env={"WRIT_HOME": str(home.root), "NATS_URL": "nats://127.0.0.1:9"})
    refused = runner.invoke(cli, ["up", *words])
    assert (refused.exit_code, f"writ: {words[0]}: these are for" in refused.stderr) == (2, True), refused.output


EXCLUSIVE = (
    # the words of a command, and the option that would have no effect
    ("init --containers .env --listen 0.0.0.0", "--listen"),
    ("init --containers .env --upgrade", "--upgrade"),
    ("init --servers 3", "--servers"),
    ("init --upgrade --tls off", "--tls"),
    ("up --detach --verbose", "--verbose"),
    ("up --write-server-config nats.conf --executors 2", "--executors"),
    ("up --write-server-config nats.conf --tls off", "--tls"),
    ("policy explain network_status -t a --mode permissive", "--mode"),
    ("policy eval --mode permissive", "--mode"),
    ("policy eval -o yaml", "--output"),
    ("policy eval --field id", "--field"),
    (f"policy test {PRODUCTION} --running --mode permissive", "--mode"),
    ("policy allowed --all --principal alice", "--all"),
    ("policy allowed --all --principal-role dev", "--all"),
    ("approvals approve 7f3a --challenge c --assertion - --reason x", "--reason"),
    ("approvals approve 7f3a --challenge c --assertion - --ssh-key x", "--ssh-key"),
    ("credential request alice new.json --registration - --ssh-key x", "--ssh-key"),
    ("credential request alice new.json --registration - --attestation x", "--attestation"),
    ("credential endorse new.json --assertion - --ssh-key x", "--ssh-key"),
    ("keys rotate audit --settle 0s", "--settle"),
    ("keys rotate people --hosts-ready", "--hosts-ready"),
    ("keys rotate policy --people-key x", "--people-key"),
    ("keys rotate policy --key U", "--key"),
    ("context alice --as bob", "--as"),
    ("principal add bob --reason x", "--reason"),
    ("principal disable bob --as alice", "--as"),
    ("principal list --context x", "--context"),
    ("principal show bob --context x", "--context"),
    ("target add a --role staging --proxmox h --become sudo", "--become"),
    ("target add a --role staging --docker h:1 --become sudo", "--become"),
    ("target add a --role staging --ssh u@h --stack-dir /s", "--stack-dir"),
    ("target add a --role staging --ssh u@h --sudo-password-file policy.yaml", "--sudo-password-file"),
)


@pytest.mark.parametrize(("words", "option"), EXCLUSIVE)
def test_option_without_effect_beside_another_is_refused(
    home: Home, monkeypatch: pytest.MonkeyPatch, words: str, option: str
) -> None:
    monkeypatch.chdir(home.root)
    before = sorted(home.root.rglob("*"))
    refused = CliRunner(env={"WRIT_HOME": str(home.root), "NATS_URL": ""}).invoke(cli, words.split(), input="{}")
    message = refused.output.partition(" (see `cli ")[0]
    assert (refused.exit_code, message != refused.output, option in message) == (2, True, True), refused.output
    assert sorted(home.root.rglob("*")) == before


def test_key_that_a_target_has_is_not_taken_for_the_one_that_is_named(home: Home, tmp_path: Path) -> None:
    home.ssh.mkdir(exist_ok=True)
    (home.ssh / "a").write_text("one")
    (tmp_path / "named").write_text("another")
    address = SshAddress(host="h", user="u", port=22)
    new = NewTarget(name="a", role="staging", address=address, key_file=tmp_path / "named")
    with pytest.raises(Conflict, match="has another key than"):
        _make_key(home, new)

"""Each command that reads or writes a file ends with status 2 where it, or its folder, is missing, and names it."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.commands import Command

from writ_cli.context import connecting
from writ_cli.main import cli
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_trust.keys import Key, generate_seed


async def test_missing_file_is_named_without_the_number_of_its_error(command: Command) -> None:
    done = await command("policy", "publish", "/nonexistent", "-r", "x")
    assert (done.exit_code, done.stderr) == (2, "writ: /nonexistent: can't be read: No such file or directory\n")


async def test_a_missing_file_to_read_is_a_usage_error(command: Command) -> None:
    for words in (
        ("policy", "diff", "/nonexistent"),
        ("policy", "diff", "1", "/nonexistent"),
        ("policy", "eval", "--requests", "/nonexistent"),
        ("policy", "convert", "/nonexistent"),
        ("policy", "format", "/nonexistent"),
        ("policy", "test", "/nonexistent"),
        ("restore", "/nonexistent"),
        ("journal", "verify", "/nonexistent"),
        ("trace", "a" * 26, "--archive", "/nonexistent"),
        ("agent", "enrol", "--token-file", "/nonexistent"),
        ("credential", "endorse", "/nonexistent"),
        ("scan", "report", "/nonexistent"),
        ("login", "--ssh-key", "/nonexistent"),
    ):
        done = await command(*words)
        assert done.exit_code == 2, (words, done.stdout, done.stderr)
        assert "/nonexistent" in done.stderr


async def test_a_missing_folder_of_a_file_to_write_is_a_usage_error(command: Command) -> None:
    for words in (
        ("backup", "/nonexistent/writ.tar"),
        ("journal", "archive", "/nonexistent/writ.tar"),
        ("policy", "test", "--junit", "/nonexistent/results.xml"),
    ):
        done = await command(*words)
        assert done.exit_code == 2, (words, done.stdout, done.stderr)
        assert "there is no folder /nonexistent" in done.stderr


def test_lost_key_of_a_principal_leads_to_the_command_that_makes_a_new_one(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    create_installation(home)
    lost = home.seed_file("principal-operator")
    lost.unlink()
    environ = {"WRIT_HOME": str(home.root), "NATS_URL": "nats://127.0.0.1:1"}
    done = CliRunner(env=environ).invoke(cli, ["op", "list", "--as", "operator"])
    missing = f"writ: {lost}: can't be read: No such file or directory"
    again = "if it is lost, `writ principal rotate operator` makes a new key"
    assert (done.exit_code, done.stderr) == (2, f"{missing}; {again}\n")
    named = CliRunner(env={**environ, "WRIT_KEY_FILE": str(lost)}).invoke(cli, ["op", "list", "--as", "operator"])
    assert (named.exit_code, named.stderr) == (2, f"{missing}\n")


def test_lost_key_of_the_operator_is_named_where_no_principal_is(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    create_installation(home)
    lost = home.seed_file("principal-operator")
    lost.unlink()
    environ = {"WRIT_HOME": str(home.root), "NATS_URL": "nats://127.0.0.1:1"}
    done = CliRunner(env=environ).invoke(cli, ["op", "list"])
    missing = f"the key of operator is missing, {lost}: if it is lost, `writ principal rotate operator` makes a new one"
    expected = f"writ: which principal? name one with --as or WRIT_PRINCIPAL; {missing}\n"
    assert (done.exit_code, done.stderr) == (2, expected)


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("nats://127.0.0.1:1", True),
        ("nats://127.0.0.2:4222", True),
        ("nats://localhost:4222", False),
        ("tls://127.0.0.1", False),
    ],
)
def test_missing_key_beside_another_server_leads_to_that_server_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, *, other: bool
) -> None:
    home, own = Home(tmp_path / "home"), "nats://127.0.0.1:4222"
    create_installation(home)
    lost = home.seed_file("principal-operator")
    lost.unlink()
    monkeypatch.setattr(connecting, "running_url", lambda _: own)
    monkeypatch.setattr(connecting, "public_url", lambda _: own)
    environ = {"WRIT_HOME": str(home.root), "NATS_URL": url}
    done = CliRunner(env=environ).invoke(cli, ["op", "list", "--as", "operator"])
    assert done.exit_code == 2
    told = f"NATS_URL may be of another installation than {home.root}, which is at {own}: then unset it"
    assert (told in done.stderr) is other
    assert "if it is lost, `writ principal rotate operator` makes a new key" in done.stderr


def test_file_of_another_kind_is_said_to_be_no_backup_or_archive(tmp_path: Path) -> None:
    (other := tmp_path / "other").write_text("hello")
    environ = {"WRIT_HOME": str(tmp_path / "home")}
    restored = CliRunner(env=environ).invoke(cli, ["restore", str(other)])
    assert restored.stderr.startswith(f"writ: {other}: it is not a complete backup: "), restored
    words = ["journal", "verify", str(other), "--policy-key", Key(generate_seed()).public]
    checked = CliRunner(env=environ).invoke(cli, words)
    assert f"{other}: it is not a complete archive: " in checked.output, checked

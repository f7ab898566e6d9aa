"""Saved contexts, the current one, and the installation found without one."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.cli.commands import Command
from tests.cli.test_help import INVENTORY, PRINCIPALS
from tests.client.scripted_api import ScriptedApi

from writ_cli.context.current_context import ContextFolder, found_home
from writ_cli.main import cli
from writ_contracts.errors import ConfigError, Invalid
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_installation.provisioner.folders import init
from writ_testing.peers.nats_server import WritServer


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without an installation above it, in which the command is called."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("WRIT_HOME", "WRIT_CONTEXT", "WRIT_PRINCIPAL", "NATS_URL", "WRIT_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    return folder


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


@pytest.mark.parametrize(
    "words",
    [
        ("target", "list"),
        ("target", "list", "--as", "alice"),
        ("target", "show", "web-1"),
        ("principal", "list"),
        ("principal", "show", "alice"),
        ("principal", "add", "alice"),
        ("keys", "list"),
        ("agent", "list"),
        ("token", "list"),
        ("leaf", "list"),
        ("tls", "show"),
        ("backup", "file"),
    ],
)
def test_missing_installation_names_the_commands_that_help(elsewhere: Path, words: tuple[str, ...]) -> None:
    done = call(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    advice = "`writ up` creates one, `writ context use` chooses one elsewhere"
    assert done.stderr == f"writ: no installation in {elsewhere / '.writ'}: {advice}\n"
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("word", ["status", "restart", "down"])
@pytest.mark.parametrize("exists", [False, True])
def test_processes_of_a_missing_installation_are_not_up(elsewhere: Path, word: str, exists: bool) -> None:
    if exists:
        (elsewhere / ".writ").mkdir()
    done = call(word)
    why = "there is no installation, and `writ up` creates one"
    assert (done.exit_code, done.stderr) == (6, f"writ: Writ is not up on {elsewhere / '.writ'}: {why}\n")


@pytest.mark.parametrize(
    ("words", "status", "advice"),
    [
        (("status",), 6, ": docker compose run --rm writ status"),
        (("up",), 2, ": docker compose up --detach --wait"),
        (("target", "list"), 6, ": use `docker compose run --rm writ …`, or set NATS_URL and WRIT_TLS_CA"),
    ],
)
def test_commands_outside_of_the_containers_of_an_installation_name_those_of_compose(
    elsewhere: Path, words: tuple[str, ...], status: int, advice: str
) -> None:
    init(elsewhere / ".writ", 1)
    done = call(*words)
    where = f"the services of {elsewhere / '.writ'} run in containers"
    assert (done.exit_code, done.stderr) == (status, f"writ: {where}{advice}\n")


async def test_the_current_context_is_used_where_nothing_else_is_named(
    command: Command, served: ScriptedApi, elsewhere: Path
) -> None:
    saved = await command("context", "save", "test-site")
    assert saved.exit_code == 0, saved.stderr
    unset = {"NATS_URL": "", "WRIT_KEY_FILE": "", "WRIT_PRINCIPAL": "", "WRIT_HOME": ""}
    assert (await command("target", "list", **unset)).exit_code == 2
    assert (await command("context", "use", "test-sit", **unset)).stderr.endswith("; did you mean 'test-site'?\n")
    assert (await command("context", "use", "test-site", **unset)).exit_code == 0
    assert [one["current"] for one in json.loads((await command("context", "list", "-o", "json")).stdout)] == [True]
    assert (await command("target", "list", "-o", "json", **unset)).exit_code == 0
    assert (await command("context", "use", "--none", **unset)).exit_code == 0
    assert (await command("target", "list", **unset)).exit_code == 2


async def test_removed_context_is_gone_and_no_longer_current(
    command: Command, served: ScriptedApi, elsewhere: Path
) -> None:
    for name in ("site-a", "site-b"):
        assert (await command("context", "save", name)).exit_code == 0
    await command("context", "use", "site-a")
    assert (await command("context", "remove", "site-b")).stdout == "site-b is removed\n"
    assert ContextFolder(os.environ).current == "site-a"
    assert (await command("context", "remove", "site-a")).exit_code == 0
    assert ContextFolder(os.environ).current is None
    assert (await command("context", "list", "-q")).stdout == ""
    again = await command("context", "remove", "site-a")
    assert (again.exit_code, "there is no context 'site-a'" in again.stderr) == (2, True)


def test_an_installation_is_searched_upwards(elsewhere: Path) -> None:
    home = elsewhere.parent / ".writ"
    home.mkdir(mode=0o700)
    (home / "inventory.yaml").write_text(INVENTORY)
    (home / "principals.yaml").write_text(PRINCIPALS)
    assert found_home(elsewhere) == home
    assert call("principal", "list", "--field", "*.id").stdout == "alice\n"
    (elsewhere / ".writ").mkdir()
    assert found_home(elsewhere) == elsewhere / ".writ"


def test_parent_folder_of_another_user_is_no_installation(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere.parent / ".writ").mkdir()
    monkeypatch.setattr("writ_cli.context.current_context.os.geteuid", lambda: 4711)
    assert found_home(elsewhere) is None


def test_a_folder_of_somebody_else_in_the_working_directory_is_refused_unless_it_is_named(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server could relay the proof of this user's key to the true server, since it also says where the key is."""
    (elsewhere / ".writ").mkdir(mode=0o755)
    (elsewhere / ".writ" / "inventory.yaml").write_text(INVENTORY)
    (elsewhere / ".writ" / "principals.yaml").write_text(PRINCIPALS)
    monkeypatch.setattr("writ_cli.context.current_context.os.geteuid", lambda: 4711)
    own = os.getuid()
    if own == 0:  # root's is trusted
        os.chown(elsewhere / ".writ", 4712, 4712)
    done = call("principal", "list", "--field", "*.id")
    assert done.exit_code == 2
    assert "belongs to another user" in done.stderr
    if own == 0:  # its owner has no name
        assert "run the command as that user, in cron by that user's crontab" in done.stderr
    assert f"A command that needs no key also takes --home {elsewhere / '.writ'}" in done.stderr
    assert call("principal", "list", "--field", "*.id", "--home", str(elsewhere / ".writ")).stdout == "alice\n"
    monkeypatch.setenv("SUDO_UID", "4712")
    assert call("principal", "list", "--field", "*.id").exit_code == 2, "only root's own is of sudo"
    monkeypatch.setattr("writ_cli.context.current_context.os.geteuid", lambda: 0)
    if own == 0:
        assert call("principal", "list", "--field", "*.id").stdout == "alice\n"


def test_a_folder_that_the_user_may_not_read_is_named_with_its_owner(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A colleague's `.writ` in a shared clone: nobody typed `--home`."""
    home = elsewhere / ".writ"
    home.mkdir(mode=0o700)
    monkeypatch.setattr("writ_cli.context.current_context.os.access", lambda path, mode: Path(path) != home)
    done = call("target", "list", "--home", str(home))
    assert f"you may not read your folder {home}: `chmod u+rwx {home}`" in done.stderr
    monkeypatch.setattr("writ_cli.context.current_context.os.geteuid", lambda: os.getuid() + 1)
    for words in (("target", "list"), ("target", "list", "--home", str(home)), ("policy", "validate", "x.yaml")):
        done = call(*words)
        assert done.exit_code == 2
        assert f"{home} belongs to another user (uid {os.getuid()}), and you may not read it: run the" in done.stderr
        assert "`writ up` creates an installation of your own" in done.stderr


def test_a_link_of_somebody_else_to_an_own_folder_is_refused(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "mine").mkdir()
    (elsewhere / ".writ").symlink_to(elsewhere / "mine")
    assert found_home(elsewhere) == elsewhere / ".writ"
    owners = {".writ": 4712, "mine": os.geteuid()}
    before = Path.lstat
    monkeypatch.setattr(
        Path, "lstat", lambda path: os.stat_result([*before(path)[:4], owners[path.name], 0, 0, 0, 0, 0])
    )
    with pytest.raises(ConfigError, match="uid 4712"):
        found_home(elsewhere)


def test_a_context_without_a_name_of_its_own_is_refused(elsewhere: Path) -> None:
    folder = ContextFolder(os.environ)
    for name in ("../x", "", "a/b", ".hidden"):
        with pytest.raises(Invalid):
            folder.file(name)
    with pytest.raises(Invalid, match="there is no context 'gone'"):
        folder.use("gone")


def test_repeated_options_of_a_context_are_refused(elsewhere: Path) -> None:
    done = call("context", "alice", "--as", "a", "--as", "b")
    assert "--as is given more than once" in done.stderr


def test_option_takes_the_name_of_a_saved_context_and_a_file_before_it(elsewhere: Path) -> None:
    saved = ContextFolder(os.environ).save("prod", b"{}")
    done = call("target", "list", "--context", "prod")
    assert (done.exit_code, done.stderr.partition(": is not a context")[0]) == (2, f"writ: {saved}")
    (elsewhere / "prod").write_text("[]")
    assert call("target", "list", "--context", "prod").stderr.startswith("writ: prod: is not a context")
    assert call("target", "list", "--context", "other").stderr.startswith("writ: other: can't be read: No such file")


def test_saved_context_in_place_of_a_principal_leads_to_its_option(elsewhere: Path) -> None:
    (elsewhere / ".writ").mkdir(mode=0o700)
    (elsewhere / ".writ" / "inventory.yaml").write_text(INVENTORY)
    (elsewhere / ".writ" / "principals.yaml").write_text(PRINCIPALS)
    ContextFolder(os.environ).save("prod", b"{}")
    for words in (("context", "show", "prod"), ("context", "prod")):
        done = call(*words)
        assert done.exit_code == 2
        assert "there is no principal 'prod'" in done.stderr
        assert "; `writ context show --context prod` shows the saved context" in done.stderr


@pytest.mark.parametrize("word", ["status", "restart"])
def test_processes_of_an_installation_that_is_down_are_started_by_up(elsewhere: Path, word: str) -> None:
    create_installation(Home(elsewhere / ".writ"))
    done = call(word)
    assert (done.exit_code, done.stderr) == (6, f"writ: Writ is not up on {elsewhere / '.writ'}: `writ up` starts it\n")


async def test_key_of_another_principal_is_reported_with_its_owner(
    command: Command, environ: dict[str, str], server: WritServer, tmp_path: Path
) -> None:
    done = await command("target", "list", WRIT_PRINCIPAL="bob")
    refused = f"writ: {server.url} does not permit writ-bob to receive replies in _INBOX_bob: its key is another user's"
    assert (done.exit_code, done.stderr) == (6, f"{refused}\n")
    people = [{"id": "alice", "kind": "human", "roles": [], "key": server.keys["alice"].public}]
    (tmp_path / "none").mkdir()
    (tmp_path / "none/principals.yaml").write_text(json.dumps({"principals": people}))
    done = await command("target", "list", WRIT_PRINCIPAL="bob")
    assert done.stderr == f"{refused}: {environ['WRIT_KEY_FILE']} has the key of alice\n"

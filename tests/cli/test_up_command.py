"""`writ up`, `status`, `down` and others on the real services, as a new user runs them."""

import asyncio
import json
import os
import re
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.cli.test_options_without_effect import keep_its_options
from tests.installation.stand_in_installations import WITHIN, start

from writ_cli.installation.processes import up
from writ_client.client import Writ
from writ_contracts.errors import Invalid
from writ_installation.files.create import default_policy
from writ_installation.files.home import Home, host_token
from writ_installation.files.lock import held, holder
from writ_installation.processes.child import tie
from writ_installation.supervisor.detached_start import detach
from writ_nats_server.process import ServerProcess
from writ_testing.eventually import eventually
from writ_testing.installations.commands import WritResult, run_command
from writ_testing.installations.detached import down_if_killed
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation
from writ_testing.peers.nats_server import free_port, free_ports
from writ_testing.search import cmdline

HERE = host_token()


class Shell:
    """The command, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WRIT_", "NATS_", "SYSTEMM"))}
        self.environ = {**kept, "WRIT_NATS_PORT": "0"}

    async def writ(self, *words: str, stdin: bytes = b"", **environ: str) -> WritResult:
        """`writ …`, to its end."""
        return await asyncio.wait_for(run_command(words, {**self.environ, **environ}, stdin, self.folder), 60)

    async def json(self, *words: str) -> Any:
        """Return the output of `writ … -o json`."""
        ended = await self.writ(*words, "-o", "json")
        assert ended.status == 0, ended
        return json.loads(ended.out)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with down_if_killed(tmp_path / ".writ"):
        yield Shell(tmp_path)


@pytest.mark.timeout(180)
async def test_first_commands_of_a_new_user_work(shell: Shell) -> None:
    assert (await shell.writ("status")).status == 6
    # A command with a variable that Python reads at its start is not forked, and nor is what it starts.
    up = await shell.writ("up", "--detach", WRIT_AUDIT_LEVEL="full", PYTHONPATH=str(shell.folder))
    try:
        assert (up.status, "Writ is ready on" in up.out) == (0, True), up
        supervisor = holder(shell.folder / ".writ" / "run" / "lock") or 0
        assert (os.getsid(supervisor), b"command_template" in cmdline(supervisor)) == (supervisor, False)
        assert "writ up: WRIT_AUDIT_LEVEL is not read; did you mean 'SYSTEMMANAGER_AUDIT_LEVEL'?\n" in up.err
        await _look_around(shell)
        await _write_and_read(shell)
        await _add_somebody(shell)
        again = await shell.writ("up")
        assert (again.status, again.err, "already up" in again.out) == (0, "", True)
        keep = await shell.writ("keep")
        assert (keep.status, "does the work of `writ keep` itself" in keep.err) == (2, True), keep
        stranger = await shell.writ("context", "nobody")
        assert (stranger.status, stranger.out, "there is no principal 'nobody'" in stranger.err) == (2, "", True)
        detached = await shell.writ("up", "--detach")
        assert (detached.status, detached.err, "already up" in detached.out) == (0, "", True)
        await keep_its_options(shell.writ)
    finally:
        down = await shell.writ("down")
    assert down.status == 0, down
    again = await shell.writ("down")
    assert (again.status, again.out, again.err) == (0, f"Writ is not running on {shell.folder / '.writ'}\n", "")
    assert (await shell.json("down")) == {"state": "down"}
    assert (await shell.writ("status")).status == 6
    unreachable = await shell.writ("target", "list")
    assert (unreachable.status, unreachable.out, "start it with `writ up`" in unreachable.err) == (6, "", True)


@pytest.mark.timeout(120)
async def test_up_with_a_wrong_policy_file_names_the_mistake_in_one_line(shell: Shell, tmp_path: Path) -> None:
    policy = tmp_path / ".writ" / "policy.yaml"
    policy.parent.mkdir(mode=0o700)
    policy.write_text("policies: {nme: x}\n")
    expected = f"writ: policy cannot start: {policy}:1:12: unknown key 'nme'; did you mean 'name'?\n"
    detached = await shell.writ("up", "--detach")
    assert (detached.status, detached.out, detached.err) == (2, "", expected)
    up = await shell.writ("up")
    assert (up.status, up.err.endswith(f"\n{expected}")) == (2, True), up
    policy.write_bytes(default_policy())
    lost = policy.with_name("keys") / "audit.seed"
    lost.unlink()
    started = await shell.writ("up", "--detach")
    assert (started.status, started.err) == (0, f"writ up: {lost} is missing, so a new key is made\n"), started
    assert (await shell.writ("down")).status == 0


@pytest.mark.timeout(180)
async def test_up_without_its_policy_key_says_how_to_go_on_and_begins_nothing(shell: Shell, tmp_path: Path) -> None:
    home = Home(shell.folder / ".writ")
    home.make_folders()
    async with running_installation(tmp_path, home=home):
        pass
    seed, lost = home.seed_file("policy"), home.public("policy")
    seed.rename(shell.folder / "policy.seed")
    ways = (("up",), ("up", "--detach"), ("up", "--write-server-config", "server.conf"))
    for refused in (tried := [await shell.writ(*words) for words in ways]):
        assert (refused.status, refused.out) == (2, "")
        assert refused.err.startswith(f"writ: {seed} is missing. Nothing was started or changed.\n")
        assert "`writ restore FILE --home FOLDER`" in refused.err
    assert not seed.exists()
    [value] = re.findall(rf"WRIT_POLICY_FORMER_KEYS=({lost}\S+)", tried[-1].err)
    started = await shell.writ("up", "--detach", WRIT_POLICY_FORMER_KEYS=value)
    try:
        assert started.status == 0, started
        assert started.err == f"writ up: {seed} is missing, so a new key is made\n"
        for command in (("run", "network_status", "-t", HERE), ("down",), ("up", "--detach")):  # without the variable
            assert (await shell.writ(*command)).status == 0
    finally:
        await shell.writ("down")


@pytest.mark.timeout(120)
async def test_interrupted_detached_start_leaves_no_process(tmp_path: Path) -> None:
    home = Home(tmp_path / ".writ")
    starting = asyncio.create_task(detach(home, ["--home", str(home.root), "--nats-port", "0"], print))

    async def is_begun() -> bool:
        return home.root.exists() and holder(home.lock) is not None

    await eventually(is_begun, what="the detached process")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert holder(home.lock) is None
    assert home.principals.exists()


@pytest.mark.parametrize("another_begins", [True, False])
async def test_failed_detached_start_leaves_the_folder_to_another_one(tmp_path: Path, another_begins: bool) -> None:
    home = Home(tmp_path / ".writ")
    failing = asyncio.create_task(detach(home, ["--home", str(home.root), "--no-such-option"], print))
    await asyncio.sleep(0)  # it has made the folders, and its process starts
    with held(home.lock) if another_begins else nullcontext(), pytest.raises(Invalid, match="--no-such-option"):
        await failing
    assert home.root.exists() is another_begins


@pytest.mark.timeout(120)
async def test_failed_first_start_leaves_nothing(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words in (("up",), ("up", "--detach")):
            up = await shell.writ(*words, "--nats-port", port)
            assert (up.status, up.out, up.err.count("\n")) == (6, "", 1), up
            assert up.err.startswith(f"writ: port {port} on 127.0.0.1 is taken")
            assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(120)
async def test_a_failed_detached_start_ends_with_the_status_of_the_start(shell: Shell) -> None:
    """`writ up` cannot write the log of a process: no mistake of the user, and no peer that is not there."""
    (shell.folder / ".writ" / "log" / "policy.log").mkdir(parents=True)
    (shell.folder / ".writ").chmod(0o700)
    for words in (("up",), ("up", "--detach")):
        failed = await shell.writ(*words)
        assert (failed.status, failed.out) == (1, ""), failed
        assert failed.err.endswith("policy.log: Is a directory\n"), failed


async def _look_around(shell: Shell) -> None:
    status = await shell.json("status")
    assert status["ready"]
    assert {one["name"] for one in status["processes"]} == {
        "nats",
        "policy",
        "executor",
        "audit",
        f"agent-local-{HERE}",
    }
    assert status["journal"]["max_bytes"] > 0
    assert [target["id"] for target in await shell.json("target", "list")] == [HERE]


async def _write_and_read(shell: Shell) -> None:
    path = str(shell.folder / "writ-sandbox" / "motd")
    done = await shell.writ("run", "file_write", "-t", HERE, f"file_path={path}", "content=-", stdin=b"hello\n")
    assert done.status == 0, done
    assert Path(path).read_text() == "hello\n"
    read = await shell.json("run", "file_read", "-t", HERE, f"file_path={path}")
    assert read["output"]["content"] == "hello\n"
    trace = await shell.writ("trace", read["operation_id"])
    assert "read" in trace.out
    assert "finished" in trace.out
    denied = await shell.writ("run", "file_write", "-t", HERE, f"file_path={path}/authorized_keys", "content=x")
    assert denied.status == 3
    assert "keep-accounts-and-keys" in denied.out
    invalid = await shell.writ("run", "file_write", "-t", HERE, "file_path=relative", "content=x")
    assert invalid.status == 2

    async def both() -> list[str] | None:
        """Return both once audit has read so far; audit's own wait is bounded."""
        rows = (await shell.json("audit", "search", "--outcome", "succeeded", "--since", "1h"))["rows"]
        return [row["operation"] for row in rows] if len(rows) > 1 else None

    assert await eventually(both) == ["file_read", "file_write"]


async def _add_somebody(shell: Shell) -> None:
    added = await shell.json(
        "principal", "add", "bot", "--kind", "agent", "--role", "assistant", "--acts-for", "operator"
    )
    assert added["admitted"] is True
    file = shell.folder / "bot.json"
    file.write_text((await shell.writ("context", "bot", "-o", "json")).out)
    async with await Writ.from_context(file) as writ:
        view = await writ.run("network_status", HERE, timeout=30)
        assert (view.principal, view.outcome) == ("bot", "succeeded")
    listed = await shell.writ("principal", "list")
    assert "acts for" in listed.out


async def test_a_server_of_ones_own_takes_the_written_configuration(tmp_path: Path) -> None:
    shell, home, config = Shell(tmp_path), Home(tmp_path / ".writ"), tmp_path / "nats.conf"
    port = free_port()
    written = await shell.writ("up", "--write-server-config", str(config), "--nats-port", str(port))
    assert written.status == 0, written
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    monitor = free_port()
    config.write_text(config.read_text().replace("127.0.0.1:8222", f"127.0.0.1:{monitor}"))
    server = await ServerProcess.start(config, tmp_path / "nats.log", port=port, monitor_port=monitor, through=tie())
    try:
        one = await start(home, tmp_path / "said", nats_url=f"nats://127.0.0.1:{port}")
        await one.until(lambda: "READY" in one.printed)
        assert "nats" not in {process.name for process in one.report.processes}
        one.process.terminate()
        assert await asyncio.wait_for(one.process.wait(), WITHIN) == 0
        stranger = await start(Home(tmp_path / "other"), tmp_path / "stranger", nats_url=f"nats://127.0.0.1:{port}")
        assert await asyncio.wait_for(stranger.process.wait(), WITHIN) == 6
        assert "--write-server-config" in stranger.printed
    finally:
        await server.stop()


@pytest.fixture
def prepared(tmp_path: Path) -> Home:
    return prepare(tmp_path)


@pytest.mark.exhaustive
async def test_a_terminal_shows_progress_and_a_pipe_or_no_color_does_not(tmp_path: Path, prepared: Home) -> None:
    async with running_installation(tmp_path, home=prepared) as installation:
        words = ("run", "test_sleep", "-t", "web-1", "seconds=3")
        assert "processes sleep" in await _on_a_terminal(installation, *words)
        plain = await _on_a_terminal(installation, *words, NO_COLOR="1")
        assert "processes sleep" not in plain
        assert plain.startswith("succeeded")
        piped = await installation.writ(*words)
        assert (piped.status, piped.err) == (0, "")
        assert "\x1b" not in piped.out


async def _on_a_terminal(installation: RunningInstallation, *words: str, **environ: str) -> str:
    master, slave = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "writ_cli", *words, "--home", str(installation.home.root)),
        env={**os.environ, "TERM": "xterm", **environ},
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown = await asyncio.to_thread(_read_all, master)
    assert await asyncio.wait_for(process.wait(), 30) == 0, shown
    return shown


def _read_all(master: int) -> str:
    output = b""
    try:
        while data := os.read(master, 65536):
            output += data
    except OSError:  # EIO: nobody has the other end any more
        return output.decode()
    finally:
        os.close(master)
    return output.decode()


@pytest.mark.exhaustive
async def test_agent_env_prints_the_settings_of_an_agent_on_another_host(tmp_path: Path, prepared: Home) -> None:
    shell = Shell(tmp_path)
    shell.environ["WRIT_HOME"] = str(prepared.root)
    assert (await shell.writ("agent", "env", "nobody")).status == 2
    pool = f"local-{HERE}"
    arguments = ("agent", "env", pool, "--url", "nats://10.0.0.1:4222", "--key-file", "/etc/k")
    bare = await shell.writ(*arguments)
    assert (bare.status, "has no TLS" in bare.err) == (2, True)
    shell.environ["WRIT_NATS_PLAINTEXT"] = "allow"
    printed = await shell.writ(*arguments)
    values = dict(line.split("=", 1) for line in printed.out.splitlines())
    assert values == {
        "NATS_URL": "nats://10.0.0.1:4222",
        "WRIT_POOL": pool,
        "WRIT_KEY_FILE": "/etc/k",
        "WRIT_POLICY_KEY": prepared.key("policy").public,
        "WRIT_INSTALLATION": prepared.installation,
        "WRIT_PEOPLE_KEY": prepared.people_key(),
        "WRIT_STATE_DIR": "/var/lib/writ-agent",
    }
    assert msgspec.json.decode((await shell.writ("agent", "env", pool, "--url", "x", "-o", "json")).out)


@pytest.mark.timeout(120)
async def test_health_port_option_sets_the_first_port_of_the_services(shell: Shell) -> None:
    first, *_ = free_ports(7)  # the services take those that follow
    with socket.create_server(("127.0.0.1", first + 1)):
        up = await shell.writ("up", "--detach", "--health-port", str(first))
    try:
        assert up.status == 0, up
        processes = (await shell.json("status"))["processes"]
        ports = [one["health_port"] for one in processes if one["name"] != "nats"]
        assert ports == [first, *range(first + 2, first + 1 + len(ports))]
        assert f"health port {first + 1} is taken: " in (shell.folder / ".writ/log/up.log").read_text()
    finally:
        await shell.writ("down")


@pytest.mark.parametrize(
    ("requested", "nats_port", "first"), [(None, 4222, 9400), (None, 0, 0), (0, 4222, 0), (9, 0, 9)]
)
def test_first_health_port_is_fixed_unless_nats_port_is_0(requested: int | None, nats_port: int, first: int) -> None:
    assert up._first_health_port(requested, nats_port) == first

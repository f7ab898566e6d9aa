"""Missing, babbling or hanging programs of the host, and a full disk: each yields an outcome."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.apt_root import apt_root as apt_root
from tests.hostops.conftest import Ask, named
from tests.hostops.test_injection import samples

from writ_hostops import HANDLERS, CancelToken, commands, processes
from writ_testing.exhaustive import some
from writ_testing.peers.restic_repository import create_repository
from writ_testing.search import alive
from writ_testing.stopwatch import stopwatch

BY_PROGRAM = [name for name in HANDLERS if name.startswith(("package_", "backup_"))]
CHANGES = [name for name, actions in HANDLERS.items() if "preview" in actions]

StandIns = Callable[[str], None]


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """Put this Python source in place of every program; "" for none at all. `sys` and `os` are imported."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def put(source: str) -> None:
        for name in ("apt-get", "dpkg-query", "restic", "zfs"):
            if source:
                (folder / name).write_text(f"#!{sys.executable} -I\nimport os, sys, time\n{source}\n")
                (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return put


@pytest.fixture
def target(srv: Path, tmp_path: Path) -> dict[str, Any]:
    """Return a target with all required declarations."""
    (srv / "data").mkdir()
    (tmp_path / "password").write_text("x")
    backup = {"repository": str(tmp_path / "repo"), "password_file": str(tmp_path / "password")}
    return {"file_roots": [str(srv)], "backup": backup}


def tried(ask: Ask, srv: Path, target: dict[str, Any], operation: str, **more: Any) -> dict[str, Any]:
    supplied = {name: value for name, value in samples(srv)[operation].items() if value}
    return ask(operation, target=target, **supplied, **more)


@pytest.mark.parametrize("operation", BY_PROGRAM)
def test_a_program_that_is_missing_is_named(
    ask: Ask, srv: Path, target: dict[str, Any], stand_ins: StandIns, operation: str
) -> None:
    stand_ins("")
    result = tried(ask, srv, target, operation)
    if operation == "package_update":  # dpkg-query comes first
        assert "dpkg-query" in result["message"]
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "tool_missing", "none")
    assert result["message"].endswith("is not installed on this host")


@pytest.mark.parametrize("operation", BY_PROGRAM)
@pytest.mark.parametrize("status", [0, 1, 11])
def test_a_program_with_garbled_output_fails_without_effect(
    ask: Ask, srv: Path, target: dict[str, Any], stand_ins: StandIns, operation: str, status: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(commands, "BUSY_PATIENCE", 0.0)
    stand_ins(f"sys.stdout.buffer.write(bytes(range(256)) * 50 + b'\\n[]{{}}\\n'); sys.exit({status})")
    result = tried(ask, srv, target, operation)
    assert (result["outcome"], result["effect"]) == ("failed", "none")
    assert result["code"] in ("garbled", "tool_failed", "busy")
    json.dumps(result).encode()


NOT_ROOT = """
if "-s" in sys.argv:
    print("Inst hello (1.0 here [all])")
elif "apt-get" in sys.argv[0]:
    print("E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)", file=sys.stderr)
    print("E: Unable to acquire the dpkg frontend lock, are you root?", file=sys.stderr)
    sys.exit(100)
"""


def test_unprivileged_user_is_refused_at_once(ask: Ask, target: dict[str, Any], stand_ins: StandIns) -> None:
    stand_ins(NOT_ROOT)
    for operation, supplied in (("package_install", {"package_name": "hello"}), ("package_update", {})):
        result = ask(operation, target=target, **supplied)
        assert (result["outcome"], result["code"], result["effect"]) == ("failed", "permission_denied", "none")


@pytest.mark.parametrize("operation", ["package_list", "backup_list"])
def test_output_of_100_megabytes_is_cut(
    ask: Ask, srv: Path, target: dict[str, Any], stand_ins: StandIns, operation: str
) -> None:
    stand_ins("for _ in range(100): os.write(1, b'x' * (1 << 20))")
    result = tried(ask, srv, target, operation)
    assert (result["outcome"], result["code"]) == ("failed", "garbled")
    assert len(json.dumps(result)) < 1_000_000


@pytest.mark.parametrize("operation", some(BY_PROGRAM, "package_install", "backup_create"))
def test_a_program_that_hangs_ends_with_the_time_and_with_its_children(
    ask: Ask, srv: Path, target: dict[str, Any], stand_ins: StandIns, tmp_path: Path, operation: str
) -> None:
    stand_ins(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork()\n"
        f"open({str(tmp_path)!r} + '/pid-' + str(os.getpid()), 'w').close(); time.sleep(600)"
    )
    with stopwatch() as seconds:
        result = tried(ask, srv, target, operation, timeout=1)
        lasted = seconds()
    assert (result["outcome"], result["code"], result["effect"], result["certain"]) == (
        "failed",
        "timeout",
        "none",
        True,
    )
    assert lasted < 1 + 2 * commands.GRACE + 5
    assert [path for path in tmp_path.glob("pid-*") if alive(int(path.name[4:]))] == []


def test_a_child_that_keeps_the_pipes_does_not_keep_the_operation(stand_ins: StandIns) -> None:
    stand_ins("if child := os.fork():\n    print(child, flush=True)\nelse:\n    os.setsid(); time.sleep(600)")
    with CancelToken(30.0) as stop:
        ran = commands.run(["zfs"], stop)
    child = int(ran.out)
    assert alive(child)
    os.kill(child, signal.SIGKILL)
    assert (ran.status, ran.stopped) == (0, "")


def test_program_reports_lines_while_it_runs_and_a_cancel_ends_it(stand_ins: StandIns) -> None:
    stand_ins("print('one', flush=True); time.sleep(600)")
    with CancelToken(30.0) as stop:
        heard: list[str] = []

        def hear(line: str) -> None:
            heard.append(line)
            threading.Thread(target=stop.cancel).start()

        ran = commands.run(["zfs"], stop, line=hear)
    assert (heard, ran.stopped, ran.gone) == (["one"], "cancelled", True)


def test_no_setting_of_ours_changes_what_a_program_does(stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WRIT")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RESTIC_PASSWORD", "ours")
    monkeypatch.setenv("APT_CONFIG", "/tmp/ours")
    monkeypatch.setenv("WRIT_OPERATION_ID", "marked")
    stand_ins("print(sorted(name for name in os.environ if name.startswith(('RESTIC', 'APT', 'WRIT'))))")
    with CancelToken(30.0) as stop:
        assert commands.run(["zfs"], stop).out == "['WRIT_OPERATION_ID']\n"


def test_programs_of_an_operation_carry_its_mark_and_a_probe_waits_for_their_end(
    ask: Ask, srv: Path, target: dict[str, Any], stand_ins: StandIns, tmp_path: Path
) -> None:
    stand_ins(
        f"open({str(tmp_path)!r} + '/mark', 'a').write(os.environ.get('WRIT_OPERATION_ID', '-') + ' '); print('[]')"
    )
    assert tried(ask, srv, target, "backup_create", request={"id": named(7)})["outcome"] == "failed"
    assert (tmp_path / "mark").read_text() == f"{named(7)} {named(7)} - "  # the look afterwards has a time of its own
    stand_ins("print('[]')")
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(
        command, env={"WRIT_OPERATION_ID": named(1)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as left:
        assert left.stdout is not None
        left.stdout.readline()
        probed = tried(ask, srv, target, "backup_create", action="probe")
        left.communicate()
    assert probed["output"]["verdict"] == "unknown"
    assert tried(ask, srv, target, "backup_create", action="probe")["output"]["verdict"] == "not_done"


@pytest.mark.parametrize("operation", CHANGES)
def test_an_operation_that_was_begun_here_is_not_begun_again(
    ask: Ask, srv: Path, target: dict[str, Any], stand_ins: StandIns, tmp_path: Path, operation: str
) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / f"{named(1)}.1.begun").write_text("{}")
    stand_ins(f"open({str(tmp_path)!r} + '/ran', 'w').close()")
    result = tried(ask, srv, {**target, "state_dir": str(state)}, operation)
    assert (result["outcome"], result["code"]) == ("unknown", "already_seen")
    assert not (tmp_path / "ran").exists()


def limited(request: dict[str, Any], most: int) -> dict[str, Any]:
    """Return the answer of `python -m writ_hostops` with a limit on file sizes, like a full disk.

    -B: Python before 3.13 does not notice that it wrote only a part of a module's .pyc, and every later process that
    imports the module fails.
    """
    done = subprocess.run(
        [sys.executable, "-B", "-m", "writ_hostops"],
        input=json.dumps(request).encode() + b"\n",
        capture_output=True,
        timeout=100,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_no_room_for_a_file_leaves_the_old_one(srv: Path) -> None:
    (srv / "a").write_text("old")
    request = {
        "id": named(1), "action": "run", "operation": "file_write", "target": {"file_roots": [str(srv)]},
        "parameters": {"file_path": f"{srv}/a", "content": "x" * 20_000},
    }  # fmt: skip
    result = limited(request, 10_000)
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "no_space", "none")
    assert (srv / "a").read_text() == "old"
    assert [path.name for path in srv.iterdir() if not path.name.endswith(".lock")] == ["a"]


def test_no_room_for_a_backup_is_no_backup(srv: Path, target: dict[str, Any], ask: Ask) -> None:
    (srv / "data" / "big").write_bytes(os.urandom(300_000))
    backup = target["backup"]
    create_repository(Path(backup["repository"]), Path(backup["password_file"]).read_text())
    supplied = {"backup_id": "one", "target_path": f"{srv}/data"}
    request = {"id": named(1), "action": "run", "operation": "backup_create", "target": target, "parameters": supplied}
    result = limited({**request, "timeout": 60}, 100_000)
    assert (result["outcome"], result["effect"]) == ("failed", "none")
    assert ask("backup_list", target=target)["output"]["backups"] == []


SETTLED_ELSEWHERE = """
import os, signal, sys, time
heard, told = os.pipe()
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[1] == "stubborn" else signal.SIG_DFL)
        os.write(told, b"x")
        time.sleep(300)
for _ in range(3):
    os.read(heard, 1)
print("ready", flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("manner", ["meek", "stubborn"])
def test_process_outside_of_the_programs_group_ends_with_it(manner: str) -> None:
    """The host itself keeps the time, so this holds without an agent too."""
    stop, ready = CancelToken(60.0), threading.Event()
    stop.operation_id = named(7)

    def end() -> None:
        ready.wait(20)
        stop.cancel()

    ender = threading.Thread(target=end)
    ender.start()
    with stop:
        ran = commands.run([sys.executable, "-c", SETTLED_ELSEWHERE, manner], stop, line=lambda _: ready.set())
    ender.join()
    assert (ran.stopped, ran.gone) == ("cancelled", True)
    assert processes.marked(named(7)) == []

"""No way leads out of the roots: links of every kind, planted or flipped while thousands of operations run."""

import contextlib
import ctypes
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from tests.hostops.conftest import Ask, litter, names

from writ_hostops import own_paths, syscalls
from writ_hostops.files import open_beneath, paths
from writ_testing.exhaustive import some

ROUNDS = 2000
ROOT = Path(__file__).parents[2]


def no_openat2(*arguments: object) -> int:
    raise OSError(38, "Function not implemented")


@pytest.fixture(params=["openat2", "walking"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run with the kernel's openat2, and as on a kernel before 5.6."""
    if request.param == "walking":
        monkeypatch.setattr(syscalls, "openat2", no_openat2)
    return str(request.param)


@contextlib.contextmanager
def meanwhile(step: Callable[[], None]) -> Iterator[None]:
    """`step` again and again in a thread of its own."""
    over = threading.Event()

    def loop() -> None:
        while not over.is_set():
            step()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def flipping(a: Path, b: Path) -> Callable[[], None]:
    """Exchanges two names; there is always something at both."""
    folder = os.open(a.parent, os.O_RDONLY)
    return lambda: syscalls.renameat2(folder, a.name, b.name, syscalls.RENAME_EXCHANGE)


def test_a_folder_flipped_to_a_link_never_lets_a_read_out(ask: Ask, srv: Path, outside: Path, kernel: str) -> None:
    (srv / "d").mkdir()
    (srv / "d" / "secret").write_text("inside")
    (srv / "link").symlink_to(outside.parent)
    observed = set()
    with meanwhile(flipping(srv / "d", srv / "link")):
        for _ in range(ROUNDS):
            result = ask("file_read", file_path=f"{srv}/d/secret")
            observed.add(result["output"].get("content", result["code"]))
    assert observed <= {"inside", "outside_roots"}
    assert "inside" in observed
    assert "outside_roots" in observed, "the race was never hit"


def test_a_folder_flipped_to_a_link_never_lets_a_write_or_delete_out(
    ask: Ask, srv: Path, outside: Path, kernel: str
) -> None:
    (srv / "d").mkdir()
    (srv / "link").symlink_to(outside.parent)
    outcomes = set()
    with meanwhile(flipping(srv / "d", srv / "link")):
        for number in range(ROUNDS // 4):
            written = ask("file_write", file_path=f"{srv}/d/secret", content=f"written {number}")
            copied = ask("file_copy", source_path=f"{srv}/d/secret", dest_path=f"{srv}/d/copy", overwrite=True)
            deleted = ask("file_delete", file_path=f"{srv}/d/secret")
            outcomes |= {(result["outcome"], result["code"]) for result in (written, copied, deleted)}
    assert outside.read_text() == "outside"
    assert names(outside.parent) == ["secret"]
    assert ("succeeded", "") in outcomes
    assert {code for _, code in outcomes} <= {"", "outside_roots", "not_found"}
    real = srv / "d" if not (srv / "d").is_symlink() else srv / "link"
    assert litter(real) == []


@pytest.mark.parametrize("rounds", some([ROUNDS // 8, ROUNDS // 2], ROUNDS // 8))
def test_a_file_flipped_to_a_link_is_never_followed(
    ask: Ask, srv: Path, outside: Path, kernel: str, rounds: int
) -> None:
    (srv / "a").write_text("inside")
    (srv / "link").symlink_to(outside)
    observed = set()
    with meanwhile(flipping(srv / "a", srv / "link")):
        for number in range(rounds):
            read = ask("file_read", file_path=f"{srv}/a")
            observed.add(read["output"].get("content", read["code"]).split()[0])
            ask("file_write", file_path=f"{srv}/a", content=f"inside {number}")
    assert observed <= {"inside", "outside_roots"}
    assert outside.read_text() == "outside"


@pytest.mark.parametrize("operation", ["file_read", "file_write", "file_delete"])
def test_links_of_every_kind_are_refused(ask: Ask, srv: Path, outside: Path, kernel: str, operation: str) -> None:
    (srv / "inside").write_text("inside")
    (srv / "folder").mkdir()
    (srv / "folder" / "a").write_text("a")
    (srv / "to-file").symlink_to(outside)
    (srv / "to-inside").symlink_to("inside")
    (srv / "to-folder").symlink_to("folder")
    (srv / "to-outside").symlink_to(outside.parent)
    (srv / "to-nothing").symlink_to("nothing")
    (srv / "to-itself").symlink_to("to-itself")
    (srv / "to-proc").symlink_to("/proc/self/root")
    content = {"content": "x"} if operation == "file_write" else {}
    for name in (
        "to-file",
        "to-inside",
        "to-folder/a",
        "to-outside/secret",
        "to-nothing",
        "to-itself",
        "to-itself/a",
        f"to-proc{outside}",
    ):
        result = ask(operation, file_path=f"{srv}/{name}", **content)
        assert (result["outcome"], result["code"]) == ("failed", "outside_roots"), name
    assert (srv / "inside").read_text() == "inside"
    assert (srv / "folder" / "a").read_text() == "a"
    assert outside.read_text() == "outside"


def test_the_links_of_proc_lead_nowhere(ask: Ask, outside: Path, kernel: str) -> None:
    with outside.open() as file:
        for path in (
            f"/proc/self/fd/{file.fileno()}",
            f"/proc/self/root{outside}",
            f"/proc/self/cwd{outside}",
            f"/proc/{os.getpid()}/root{outside}",
        ):
            refused = ask("file_read", target={"file_roots": [{"path": "/proc"}]}, file_path=path)
            assert refused["code"] == "outside_roots"
            allowed = {"file_roots": [{"path": "/proc", "allow_system_root": True}]}
            assert ask("file_read", target=allowed, file_path=path)["code"] == "outside_roots"


def test_a_root_that_is_reached_through_a_link_is_refused(ask: Ask, srv: Path, kernel: str) -> None:
    (srv / "real").mkdir()
    (srv / "real" / "a").write_text("a")
    (srv / "root").symlink_to("real")
    result = ask("file_read", target={"file_roots": [f"{srv}/root"]}, file_path=f"{srv}/root/a")
    assert result["code"] == "outside_roots"


def test_files_with_two_names_are_not_changed(ask: Ask, srv: Path, outside: Path) -> None:
    os.link(outside, srv / "a")
    for operation, more in (("file_write", {"content": "x"}), ("file_delete", {})):
        assert ask(operation, file_path=f"{srv}/a", **more)["code"] == "not_a_regular_file"
    (srv / "b").write_text("b")
    copied = ask("file_copy", source_path=f"{srv}/b", dest_path=f"{srv}/a", overwrite=True)
    assert copied["code"] == "not_a_regular_file"
    assert outside.read_text() == "outside"


def test_a_second_name_of_a_file_of_writs_own_is_not_read(ask: Ask, srv: Path, tmp_path: Path) -> None:
    """Other files with several names are read: there are many, and a read changes none of them."""
    home = tmp_path / "home"
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "policy.seed").write_text("seed")
    os.link(home / "keys" / "policy.seed", srv / "stolen")
    (srv / "two").write_text("two")
    os.link(srv / "two", srv / "names")
    target = {"forbidden_paths": [str(home)]}
    for operation, supplied in (
        ("file_read", {"file_path": f"{srv}/stolen"}),
        ("file_copy", {"source_path": f"{srv}/stolen", "dest_path": f"{srv}/copy"}),
    ):
        result = ask(operation, target=target, **supplied)
        assert (result["code"], "Writ itself" in result["message"]) == ("outside_roots", True)
    assert ask("file_read", target=target, file_path=f"{srv}/names")["output"]["content"] == "two"
    assert not (srv / "copy").exists()


def test_fifos_sockets_and_devices_are_refused_at_once(ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(srv / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(srv)  # the path of a socket is at most 107 bytes
        server.bind("socket")
        for name in ("fifo", "socket"):
            for operation, more in (("file_read", {}), ("file_write", {"content": "x"}), ("file_delete", {})):
                assert ask(operation, file_path=f"{srv}/{name}", **more)["code"] == "not_a_regular_file"
    device = ask(
        "file_read", target={"file_roots": [{"path": "/dev", "allow_system_root": True}]}, file_path="/dev/null"
    )
    assert device["code"] == "not_a_regular_file"


def test_writs_own_files_are_refused_whatever_the_roots_allow(ask: Ask, srv: Path, tmp_path: Path) -> None:
    home = srv / "writ"
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "policy.seed").write_text("seed")
    (tmp_path / "alias").symlink_to(home)
    for forbidden in (str(home), str(tmp_path / "alias"), str(home / "keys" / "policy.seed"), str(home / "keys")):
        target = {"file_roots": [{"path": str(srv), "allow_system_root": True}], "forbidden_paths": [forbidden]}
        for operation, more in (("file_read", {}), ("file_write", {"content": "x"}), ("file_delete", {})):
            result = ask(operation, target=target, file_path=f"{home}/keys/policy.seed", **more)
            assert (result["code"], "Writ itself" in result["message"]) == ("outside_roots", True)
    assert (home / "keys" / "policy.seed").read_text() == "seed"


def test_files_of_an_installation_are_refused_though_the_agent_does_not_know_them(
    ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under systemd an agent gets its key as a copy, and knows the folder neither of its key nor of the services."""
    (srv / "etc" / "writ" / "keys").mkdir(parents=True)
    (srv / "etc" / "writ" / "agent-a.seed").write_text("seed")
    os.link(srv / "etc" / "writ" / "agent-a.seed", srv / "etc" / "seed")
    monkeypatch.setattr(open_beneath, "INSTALLED", (f"{srv}/etc/writ", f"{srv}/absent", f"{srv}/none-*"))
    for path in ("writ/agent-a.seed", "writ/keys/policy.seed", "seed"):
        assert ask("file_read", file_path=f"{srv}/etc/{path}")["code"] == "outside_roots"
    assert ask("file_write", file_path=f"{srv}/etc/writ/agent-a.env", content="x")["code"] == "outside_roots"
    assert ask("file_write", file_path=f"{srv}/etc/motd", content="x")["outcome"] == "succeeded"


def test_known_folders_of_an_installation_are_those_of_its_units() -> None:
    units = [*(ROOT / "deploy" / "systemd").glob("writ-*.service")]
    used = {path for unit in units for path in paths_of(unit)}
    known = [*own_paths.INSTALLED, *own_paths.INSTALLED_CODE]
    assert [path for path in used if not any(fnmatch(path, one) or fnmatch(path, f"{one}/*") for one in known)] == []
    assert {"/run/credentials/writ-policy@0.service", "/var/lib/private/writ-nats", "/var/lib/writ-agent-0"} <= used


def paths_of(unit: Path) -> Iterator[str]:
    """Yield the files of keys, settings, code and state of a unit, and the folder of the copies of its keys."""
    text = unit.read_text().replace("%i", "0")
    state = "/var/lib/private" if "DynamicUser=yes" in text else "/var/lib"
    yield from (f"{state}/{name}" for name in re.findall(r"^StateDirectory=(.*)$", text, re.MULTILINE))
    yield from re.findall(
        r"^(?:LoadCredential=[\w.]+:|EnvironmentFile=-?|ReadWritePaths=|ExecStart=)(/\S+)", text, re.MULTILINE
    )
    yield from re.findall(r"(?<==)/etc/\S+", text)
    if "Credential=" in text:
        yield f"/run/credentials/{unit.name.replace('@', '@0')}"


def test_names_elsewhere_of_the_code_of_an_installation_are_read(
    ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uv links the files of all environments to its cache."""
    for folder in ("writ", "app"):
        (srv / folder).mkdir()
    (srv / "writ" / "module.py").write_text("x")
    os.link(srv / "writ" / "module.py", srv / "app" / "module.py")
    monkeypatch.setattr(open_beneath, "INSTALLED_CODE", (f"{srv}/writ",))
    assert ask("file_read", file_path=f"{srv}/app/module.py")["outcome"] == "succeeded"
    assert ask("file_write", file_path=f"{srv}/writ/module.py", content="y")["code"] == "outside_roots"
    assert ask("file_write", file_path=f"{srv}/app/module.py", content="y")["code"] == "not_a_regular_file"


@pytest.mark.parametrize("target", ["loop", "absent"])
def test_installed_folder_that_cannot_be_reached_stops_no_other_file(
    ask: Ask, srv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """The account of an SSH target may not enter the folder that a link names, or a link may name itself."""
    (srv / "file").write_text("x")
    own = tmp_path / "own"
    own.mkdir()
    (own / "loop").symlink_to(own / target)
    (srv / "second").hardlink_to(srv / "file")
    for installed in (own / "loop", own):
        monkeypatch.setattr(open_beneath, "INSTALLED", (str(installed),))
        assert ask("file_read", file_path=f"{srv}/file")["outcome"] == "succeeded"


def test_writs_own_files_are_known_by_inode_too(
    ask: Ask, srv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same folder may be mounted at a second place, where its path reveals nothing."""
    home = srv / "elsewhere"
    home.mkdir()
    (home / "seed").write_text("seed")
    real = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: "/the/other/mount" if path == str(home) else real(path))
    result = ask("file_read", target={"forbidden_paths": [str(home)]}, file_path=f"{home}/seed")
    assert result["code"] == "outside_roots"
    assert ask("file_read", target={"forbidden_paths": [f"{home}/seed"]}, file_path=f"{home}/seed")["code"] == (
        "outside_roots"
    )


def test_the_state_folder_of_a_target_is_its_own(ask: Ask, srv: Path) -> None:
    target = {"state_dir": f"{srv}/state"}
    assert ask("file_write", target=target, file_path=f"{srv}/state/x", content="x")["code"] == "outside_roots"


def test_a_rename_going_on_all_the_time_ends_in_an_answer(ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def always_again(*arguments: object) -> int:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(syscalls, "openat2", always_again)
    assert ask("file_read", file_path=f"{srv}/a")["outcome"] == "failed"


def test_kernel_refuses_to_open_a_path_that_left_the_folder(srv: Path, outside: Path) -> None:
    """RESOLVE_BENEATH itself: the kernel refuses a way changed by a link or rename."""
    (srv / "link").symlink_to("../outside")
    folder = os.open(srv, os.O_RDONLY)
    with pytest.raises(OSError, match="symbolic links"):
        syscalls.openat2(folder, "link/secret", os.O_RDONLY, syscalls.RESOLVE_NO_SYMLINKS)
    with pytest.raises(OSError, match="cross-device"):
        syscalls.openat2(folder, "link/secret", os.O_RDONLY, syscalls.RESOLVE_BENEATH)
    os.close(folder)


def test_open_how_has_the_layout_of_the_kernel() -> None:
    assert ctypes.sizeof(syscalls._OpenHow) == 24
    assert open_beneath._RESOLVE == 0x0E
    assert paths.TEMPORARY.fullmatch(".writ-0123456789abcdef.tmp")

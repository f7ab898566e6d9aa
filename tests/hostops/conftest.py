"""A folder declared as a file root, and a host with one operation at a time."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.hostops.fake_systemd import FakeSystemd
from tests.hostops.supervised_client import WITHIN, Kept

import writ_hostops

Result = dict[str, Any]
Ask = Callable[..., Result]
RUN = uuid4().hex[:8]


def named(number: int) -> str:
    """Return an operation id unique among all runs, since its processes are searched for in all of /proc."""
    return f"op-{number}-{RUN}"


@pytest.fixture
def srv(tmp_path: Path) -> Path:
    """The one declared file root."""
    root = tmp_path.resolve() / "srv"
    root.mkdir()
    return root


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a secret outside every root."""
    secret = tmp_path.resolve() / "outside" / "secret"
    secret.parent.mkdir()
    secret.write_text("outside")
    return secret


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSystemd]:
    """Yield a system bus with systemd, where hostops looks for it."""
    monkeypatch.chdir(tmp_path)
    fake = FakeSystemd(Path())
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", fake.address)
    yield fake
    fake.close()


@pytest.fixture
def ask(srv: Path) -> Ask:
    """Return a function that carries out one request in process: `ask("file_read", file_path=…)`."""

    def ask(
        operation: str,
        action: str = "run",
        *,
        target: Mapping[str, Any] | None = None,
        request: Mapping[str, Any] | None = None,
        stop: writ_hostops.CancelToken | None = None,
        **parameters: Any,
    ) -> Result:
        message = {
            "id": named(1),
            "action": action,
            "operation": operation,
            "parameters": parameters,
            "target": {"file_roots": [str(srv)], **(target or {})},
            **(request or {}),
        }
        return writ_hostops.run(message, stop=stop)

    return ask


def names(folder: Path) -> list[str]:
    """Return the names in the folder."""
    return sorted(path.name for path in folder.iterdir())


def litter(folder: Path) -> list[str]:
    """Return leftovers of a killed write beside the file."""
    return [name for name in names(folder) if name.startswith(".writ-")]


def write_unseen(path: Path, text: str) -> None:
    """Write the file in place, and set its modification time back. The change time differs: its clock has ticks."""
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        path.write_text(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "marks")
    with made.process as process:
        yield made
        assert process.stdin is not None
        process.stdin.close()
        try:
            assert process.wait(WITHIN) == 0
        finally:
            process.kill()

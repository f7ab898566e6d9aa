"""A damaged file of changes gives nobody access: NATS stays as it is until the journal has written it again."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from writ_bus.errors import Unreachable
from writ_contracts.catalogue.control import PrincipalManage
from writ_contracts.errors import ConfigError
from writ_contracts.history.records import Record
from writ_contracts.installation.known_changes import KnownChanges, VerifiedChange
from writ_contracts.people.principal_changes import entry_version
from writ_contracts.wire import encode
from writ_documents import atomic_files
from writ_documents.readers import read_principals
from writ_installation.files.home import Home
from writ_installation.files.principal_changes import keep_changes, known_changes
from writ_installation.files.sessions import discard_damaged
from writ_installation.provisioner import folders, principal_changes
from writ_installation.provisioner.principal_changes import PrincipalChangeEndpoint
from writ_installation.provisioner.provisioner import Provisioner
from writ_installation.provisioner.reconciler import Rounds

URL = "nats://127.0.0.1:1"
NEWER = b'{"changes": [{"operation_id": "a", "change": {"action": "of a later release", "principal_id": "bob"}}]}'


def older() -> bytes:
    change = PrincipalManage(action="disable", principal_id="operator", replaces="x.0", timeout=30)
    return encode(KnownChanges(changes=[VerifiedChange(operation_id="a" * 26, change=change)]))


class _Journal:
    """A bus with an empty journal, which puts another file of changes in place while its connection is closed."""

    def __init__(self, home: Home, put: bytes | None) -> None:
        self.journal = self
        self._home = home
        self._put = put

    async def read(self, subject: str, *, after: int = 0) -> Sequence[Record]:
        return []

    async def drain(self, within: float) -> None:
        if self._put is not None:
            atomic_files.save(self._home.principal_changes, self._put)
            self._put = None


def put_in_place_of_nats(monkeypatch: pytest.MonkeyPatch, journal: _Journal | None) -> None:
    async def connect(options: object) -> _Journal:
        if journal is None:
            raise Unreachable("no server")
        return journal

    monkeypatch.setattr(principal_changes, "connect", connect)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return folders.init(tmp_path / ".writ", 1)


def endpoint(home: Home) -> PrincipalChangeEndpoint:
    return PrincipalChangeEndpoint(home, Rounds(), os.environ, lambda *_: None)


def files_with(key: str, home: Home) -> list[Path]:
    files = [path for path in home.root.parent.rglob("*") if path.is_file()]
    return [
        path
        for path in files
        if path not in {home.principals, home.principal_changes} and key.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize("content", [b"", b"{", b'"\xff"', NEWER], ids=["empty", "cut off", "no text", "newer"])
async def test_a_provisioner_that_restarts_with_a_damaged_file_lets_no_disabled_principal_in(
    home: Home, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    put_in_place_of_nats(monkeypatch, None)
    operator = next(one for one in read_principals(home.principals).principals if one.id == "operator")
    change = PrincipalManage(action="disable", principal_id="operator", replaces=entry_version(operator), timeout=30)
    keep_changes(home, KnownChanges(changes=[VerifiedChange(operation_id="a" * 26, change=change)]))
    folders.write_servers(home)
    assert files_with(operator.key, home) == []
    home.principal_changes.write_bytes(content)
    failures: list[Exception | None] = []
    monkeypatch.setattr(Provisioner, "_note", lambda _, failure, *__: failures.append(failure))
    await Provisioner(home, URL, {})._reconciler.round()
    assert files_with(operator.key, home) == []
    assert home.principal_changes.read_bytes() == content
    assert failures
    assert failures[0] is not None


async def test_a_damaged_file_is_written_again_once_the_events_are_read(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_place_of_nats(monkeypatch, _Journal(home, None))
    for path in (home.principal_changes, home.sessions):
        path.write_bytes(b"{")
    await endpoint(home).restore_damaged(URL)
    assert known_changes(home) == KnownChanges()
    assert home.principal_changes.exists()
    assert not home.sessions.exists()


async def test_an_older_file_put_in_place_while_the_connection_is_closed_is_not_the_journals(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_place_of_nats(monkeypatch, _Journal(home, older()))
    changes = endpoint(home)
    await changes.read(URL)
    assert home.principal_changes.read_bytes() == older()
    await changes.restore_files(URL)
    assert known_changes(home) == KnownChanges()


def test_a_file_of_another_release_is_refused_and_stays(home: Home) -> None:
    home.principal_changes.write_bytes(NEWER)
    discard_damaged(home)
    assert home.principal_changes.read_bytes() == NEWER
    with pytest.raises(ConfigError, match="principal-changes") as refused:
        known_changes(home)
    assert "writes it again" not in str(refused.value)


@pytest.mark.parametrize("name", ["principal_changes", "sessions"])
def test_a_folder_in_place_of_a_file_is_named(home: Home, name: str) -> None:
    path: Path = getattr(home, name)
    path.mkdir()
    with pytest.raises(ConfigError, match=str(path)) as refused:
        discard_damaged(home)
    assert "writes it again" not in str(refused.value)

"""Rotation of `params.key` beneath executors: older records stay readable, without a restart."""

import secrets
from pathlib import Path
from typing import Any

import pytest
from tests.executor.conftest import World
from tests.executor.test_parameter_retention import demanding

from writ_contracts.errors import ConfigError, Untrusted
from writ_contracts.large_texts import LARGE
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.shared_keys import SharedKeys
from writ_installation.files.parameter_keys import id_in_use, make_parameter_key, next_id, use_next
from writ_trust.parameter_keys import ParameterKeys, format_keys, shared_key_id

WRITE: dict[str, Any] = {
    "parameters": {"file_path": "/srv/app/a", "content": "secret"},
    "idempotency_key": "once",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "params.key"
    make_parameter_key(path)
    return path


def rotate(file: Path) -> None:
    use_next(file, next_id(file))


@pytest.mark.parametrize("content", ["once", "once" * LARGE])
async def test_an_operation_from_before_a_rotation_keeps_its_keys(
    world: World, file: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    wish = {**WRITE, "parameters": {**WRITE["parameters"], "content": content}}
    demanding(world, monkeypatch)
    world.shared = SharedKeys.read(file)
    await world.executor(sweep=1000.0)
    answer = await world.ask("file_write", **wish)
    requested = (await world.accepted(answer.operation_id)).requested
    assert requested.parameter_key == id_in_use(file)
    rotate(file)
    later = SharedKeys.read(file)
    for keys in (world.shared, later):
        vault = Vault(world.bus, keys, lambda: False)
        assert await vault.parameters(requested) == wish["parameters"]
        assert vault.keys_of(requested).key_id == requested.parameter_key
        assert vault.new_keys(requested.operation_id).key_id == id_in_use(file) != requested.parameter_key
    again = await world.ask("file_write", **wish)
    assert (again.operation_id, again.error) == (answer.operation_id, None)
    other = await world.ask("file_write", **{**WRITE, "parameters": {"file_path": "/srv/app/a", "content": "other"}})
    assert other.error
    assert other.error.code == "conflict"


def test_replicas_read_what_one_of_them_encrypts_under_the_next_key(file: Path) -> None:
    one, other = SharedKeys.read(file), SharedKeys.read(file)
    rotate(file)
    assert other.decrypt(one.encrypt(b"new")) == b"new"


def test_a_copy_of_the_file_from_before_the_switch_reads_what_is_encrypted_after_it(file: Path, tmp_path: Path) -> None:
    announced = next_id(file)
    copied = tmp_path / "copied.key"
    copied.write_bytes(file.read_bytes())
    copied.chmod(0o600)
    credential = SharedKeys.read(copied)  # as systemd passes it at the start
    assert credential.new("a").key_id != announced
    use_next(file, announced)
    assert credential.decrypt(SharedKeys.read(file).encrypt(b"new")) == b"new"
    assert credential.find("a", announced)


def test_a_file_that_becomes_unusable_changes_nothing(file: Path) -> None:
    keys = SharedKeys.read(file)
    stored = keys.encrypt(b"data")
    file.write_bytes(b"nonsense")
    assert keys.decrypt(stored) == b"data"
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        SharedKeys.read(file)


def test_an_operation_without_a_key_name_has_the_oldest_key_and_one_of_a_removed_key_none(file: Path) -> None:
    oldest = id_in_use(file)
    rotate(file)
    next_id(file)
    keys = SharedKeys.read(file)
    found = keys.find("a", "")
    assert found
    assert found.key_id == oldest
    assert keys.find("a", shared_key_id(secrets.token_bytes(32))) is None
    with pytest.raises(Untrusted):
        keys.decrypt(SharedKeys(ParameterKeys(used=(secrets.token_bytes(32),))).encrypt(b"data"))


def test_the_file_shows_the_next_key_as_such(file: Path) -> None:
    used, following = secrets.token_bytes(32), secrets.token_bytes(32)
    assert (
        format_keys(ParameterKeys(used=(used,), next=following)).decode() == f"{used.hex()}\nnext {following.hex()}\n"
    )

"""A service connects with its own key, or reports clearly why it cannot."""

from pathlib import Path

import pytest

from writ_contracts.errors import ConfigError, Unreachable
from writ_runtime.config import ServiceConfig
from writ_runtime.connect import connect_as, load_key
from writ_trust.keys import generate_seed


def config(path: Path) -> ServiceConfig:
    return ServiceConfig(nats_url="nats://127.0.0.1:1", key_file=path)


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    path = tmp_path / "policy.seed"
    path.write_bytes(generate_seed() + b"\n")
    path.chmod(0o600)
    return path


def test_load_key_returns_the_key_of_the_file(seed: Path) -> None:
    assert load_key(config(seed)).seed == seed.read_bytes().strip()


def test_a_file_that_holds_no_key_is_refused_and_not_shown(seed: Path) -> None:
    seed.write_bytes(b"hunter2")
    with pytest.raises(ConfigError, match=r"policy\.seed: not an nkey seed") as caught:
        load_key(config(seed))
    assert "hunter2" not in str(caught.value)


def test_a_key_that_others_can_read_is_refused(seed: Path) -> None:
    seed.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read it"):
        load_key(config(seed))


async def test_a_server_that_is_not_there_is_unreachable_within_the_wait(seed: Path) -> None:
    with pytest.raises(Unreachable):
        await connect_as("policy", config(seed), load_key(config(seed)), wait=0.3)

"""Policy's keys: those of the environment until a keyring exists, then those in the present keyring."""

import sys
from pathlib import Path

import pytest

from writ_contracts.errors import ConfigError, Invalid
from writ_contracts.installation.keyring import KeyEntry, KeyState
from writ_installation.files.keyring import save_keys
from writ_runtime.files.policy_keys import PolicyKeys
from writ_trust.keys import Key, generate_seed

OLD, NEW = (Key(generate_seed()).public for _ in range(2))


def entry(key: str, state: KeyState, **more: float) -> KeyEntry:
    return KeyEntry(name="policy", key=key, state=state, since=1.0, **more)  # type: ignore[arg-type]


def test_a_former_key_counts_for_its_range_alone_as_soon_as_the_keyring_says_so(tmp_path: Path) -> None:
    file = tmp_path / "keyring.json"
    keys = PolicyKeys(f"{OLD}, ", file)
    assert (set(keys.live), dict(keys.events)) == ({OLD}, {OLD: sys.maxsize})
    save_keys(file, [entry(OLD, "current"), entry(NEW, "next")])
    assert set(keys.live) == {OLD, NEW}
    save_keys(file, [entry(OLD, "former", until=2.0, last_event=7, last_version=3), entry(NEW, "current")])
    assert OLD not in keys.live
    assert dict(keys.events) == {OLD: 7, NEW: sys.maxsize}
    assert dict(keys.versions) == {OLD: 3, NEW: sys.maxsize}
    assert (keys.at(2.0), keys.at(2.5)) == ([OLD, NEW], [NEW])


def test_a_keyring_that_is_gone_or_unusable_brings_no_former_key_back(tmp_path: Path) -> None:
    file = tmp_path / "keyring.json"
    save_keys(file, [entry(OLD, "former", last_event=7), entry(NEW, "current")])
    keys = PolicyKeys(OLD, file)
    file.write_text("{")
    assert set(keys.live) == {NEW}
    assert str(file) in (keys.problem or "")
    file.unlink()
    assert set(keys.live) == {NEW}
    file.write_text("[]")
    with pytest.raises(ConfigError):
        PolicyKeys(OLD, file)


def test_policy_with_a_rotated_key_says_that_it_must_be_started_again(tmp_path: Path) -> None:
    file = tmp_path / "keyring.json"
    keys = PolicyKeys("", file, own=OLD)
    save_keys(file, [entry(OLD, "retiring"), entry(NEW, "current")])
    assert keys.retired() is None
    save_keys(file, [entry(OLD, "former"), entry(NEW, "current")])
    assert "start it again" in (keys.retired() or "")
    assert OLD not in keys.live


def test_malformed_policy_key_is_refused() -> None:
    with pytest.raises(Invalid):
        PolicyKeys("UABC", None)

"""Rotation of the keys of agents on other hosts: an interrupted retirement continues."""

from pathlib import Path

import pytest

from writ_documents.readers import read_agents
from writ_installation.administration import remote_agent_keys
from writ_installation.administration.remote_agent_keys import chosen_key, retire_elsewhere, successor
from writ_installation.files import list_edits, tokens
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_trust.keys import Key, generate_seed

NAME = "agent-far"


class Killed(Exception):
    """Raised in place of a process's death."""


@pytest.mark.parametrize(("module", "step"), [(remote_agent_keys, "save_keys"), (list_edits, "replace")])
def test_a_retirement_that_is_killed_goes_on(
    tmp_path: Path, module: object, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object, **__: object) -> None:
        raise Killed

    home = Home(tmp_path / "home")
    create_installation(home)
    old, new = Key(generate_seed()).public, Key(generate_seed()).public
    for key in (old, new):
        list_edits.append(home.agents, "agents", {"pool": "far", "key": key}, unique="key")
    token, _ = tokens.make(home, "far", "nats://x:4222", 2e9, "", old)
    monkeypatch.setattr(tokens, "used_for", lambda _, number: new if number == token.id else None)
    with monkeypatch.context() as patched:
        patched.setattr(module, step, kill)
        with pytest.raises(Killed):
            retire_elsewhere(home, NAME, old, new)
    assert (chosen_key(home, NAME, ""), successor(home, old)) == (old, new)
    retire_elsewhere(home, NAME, old, new)
    assert {one.key: one.state for one in home.keyring().of(NAME)} == {old: "former", new: "current"}
    assert [one.key for one in read_agents(home.agents).agents if one.pool == "far"] == [new]

"""Keys of a rotation whose files are lost, and older copies of files: what ends them, and what ends nothing."""

import json
from pathlib import Path

import pytest
from tests.installation.rotated_keys import AGENT, DEPOT, LINK, create, keys, listed, states

from writ_contracts.errors import ConfigError, Conflict, Invalid, TimedOut
from writ_contracts.installation.keyring import KeyEntry
from writ_documents import yaml_file
from writ_documents.atomic_files import write_atomically
from writ_installation.administration.key_rotation import LastRecords, announce, end_lost, pending, retire, switch
from writ_installation.administration.key_steps import rotate
from writ_installation.files import list_edits
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_installation.files.keyring import save_keys
from writ_installation.files.lost_policy_key import kept_former_keys
from writ_installation.files.parameter_keys import make_parameter_key
from writ_installation.files.site import Site
from writ_installation.initialise import init, upgrade
from writ_installation.nats.leaf_sites import add_site
from writ_installation.provisioner import folders
from writ_trust.keys import Key, generate_seed

SITE = Site(url="nats://127.0.0.1:4222", listen="127.0.0.1", port=4222, monitor_port=8222)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return create(tmp_path / "home")


async def test_lost_key_that_was_rotated_is_refused_once_it_is_said_to_be_lost(home: Home) -> None:
    with pytest.raises(Invalid, match="no lost key of executor"):
        end_lost(home, "executor")
    await rotate(home, "executor", lambda _: None)
    lost = home.public("executor")
    assert end_lost(home, "executor") == []
    home.seed_file("executor").unlink()
    create_installation(home)
    new = home.public("executor")
    assert home.keys_of("executor") == [new, lost]
    with pytest.raises(Conflict, match="writ keys lost executor"):
        announce(home, "executor")
    assert await keys(home, "lost", "executor") == (0, f"executor: {lost} is refused from now on\n")
    assert home.keys_of("executor") == [new]
    await rotate(home, "executor", lambda _: None)
    assert home.keyring().former("executor")[-2:] == [lost, new]


@pytest.mark.parametrize("name", ["policy", "nobody", AGENT])
def test_no_other_key_is_said_to_be_lost(home: Home, name: str) -> None:
    with pytest.raises(Invalid, match="no lost key of"):
        end_lost(home, name)


@pytest.mark.parametrize("words", [("lost",), ("rotate",)])
async def test_older_copy_of_a_key_is_no_lost_key_and_revokes_nothing(home: Home, words: tuple[str, ...]) -> None:
    seed, former = home.seed_file("executor"), home.seed_file("executor").read_bytes()
    await rotate(home, "executor", lambda _: None)
    present, ring = home.public("executor"), home.keyring()
    seed.write_bytes(former)
    status, printed = await keys(home, *words, "executor")
    assert status == 2
    assert "this key was rotated away" in printed
    assert present in printed
    assert (home.keyring(), home.keys_of("executor")) == (ring, [present])


async def test_older_copy_of_a_key_is_refused_by_init_in_containers(tmp_path: Path) -> None:
    home = folders.init(tmp_path / ".writ", 1)
    former = home.seed_file("executor").read_bytes()
    for _ in range(3):
        await rotate(home, "executor", lambda _: None)
    home.seed_file("executor").write_bytes(former)
    with pytest.raises(ConfigError, match="this key was rotated away"):
        folders.init(home.root, 1)


async def test_older_copy_of_a_key_is_refused_by_an_upgrade_under_systemd(tmp_path: Path) -> None:
    home = init(tmp_path / "writ", SITE)
    former = home.seed_file("executor").read_bytes()
    for _ in range(3):
        await rotate(home, "executor", lambda _: None)
    public = home.public_file.read_bytes()
    home.seed_file("executor").write_bytes(former)
    with pytest.raises(ConfigError, match="this key was rotated away"):
        upgrade(home.root)
    assert home.public_file.read_bytes() == public


async def test_key_that_was_ended_stays_former_at_the_next_switch(home: Home) -> None:
    """Its `keyring.json` is of an earlier release, where an older copy of a file counted as a new key."""
    old = home.public("executor")
    former = KeyEntry(name="executor", key=old, state="former", since=1.0, until=2.0)
    present = KeyEntry(name="executor", key=old, state="current", since=3.0)
    save_keys(home.keyring_file, [former, present])
    with pytest.raises(ConfigError, match=r"Put the present one back\. If it is lost"):
        create_installation(home)
    write_atomically(home.keys / "executor.next.seed", seed := generate_seed())
    new = KeyEntry(name="executor", key=Key(seed).public, state="next", since=4.0)
    save_keys(home.keyring_file, [former, present, new])
    switch(home, "executor")
    assert states(home, "executor") == [(old, "former"), (old, "retiring"), (new.key, "current")]


@pytest.mark.parametrize("name", [AGENT, LINK])
async def test_replacement_of_a_lost_key_is_refused_after_its_own_rotation(home: Home, name: str) -> None:
    """The lost one's entry was removed by hand, as docs/operating/files.md says."""
    await rotated(home, name)
    lost = home.public(name)
    home.seed_file(name).unlink()
    if name == AGENT:
        list_edits.replace(home.agents, "agents", None, unique="key", value=lost)
        create_installation(home)
    else:
        list_edits.replace(home.leaves, "leaves", None, unique="key", value=lost)
        add_site(home, DEPOT, "127.0.0.1")
    replacement = home.public(name)
    await rotated(home, name)
    new = home.public(name)
    assert len({lost, replacement, new}) == 3
    assert listed(home, name) == [new]
    assert states(home, name)[1:] == [(lost, "former"), (replacement, "former"), (new, "current")]


async def rotated(home: Home, name: str) -> None:
    while True:
        await rotate(home, name, lambda _: None)
        if pending(home, name) == "announced":
            return


async def test_lost_key_of_policy_is_ended_in_containers_and_its_value_is_kept(tmp_path: Path) -> None:
    """No start removes its entries there, and agents are given both keys."""
    home = folders.init(tmp_path / ".writ", 1)
    await rotate(home, "policy", lambda _: None)
    await rotate(home, "policy", lambda _: None, hosts_ready=True)
    retire(home, "policy", LastRecords(event=5, version=1))
    lost = home.public("policy")
    home.seed_file("policy").unlink()
    folders.init(home.root, 1)
    assert home.keys_of("policy") == [home.public("policy"), lost]
    status, printed = await keys(home, "rotate", "policy")
    assert (status, "run `writ keys lost policy` first" in printed) == (2, True)
    first, other = home.keyring().former("policy")[0], home.keyring().of("executor")
    (home.state / "policy").mkdir(parents=True)
    (home.state / "policy" / "policy-version.json").write_text('{"number":3,"digest":"d"}')
    (home.state / "policy" / "journal.json").write_text('{"created":"c","sequence":71,"digest":"d"}')
    value = f"{first}@1@5,{lost}@3@71"
    status, printed = await keys(home, "lost", "policy")
    assert (status, f"WRIT_POLICY_FORMER_KEYS={value}\n" in printed) == (0, True), printed
    assert f"WRIT_POLICY_KEY={home.public('policy')}\n" in printed
    assert home.keys_of("policy") == [home.public("policy")]
    assert (home.keyring().of("policy"), home.keyring().of("executor")) == ([], other)
    assert kept_former_keys(home) == value
    assert announce(home, "policy").old == home.public("policy")


@pytest.mark.parametrize("containers", [False, True])
async def test_lost_key_of_policy_is_made_again_by_command_after_init(tmp_path: Path, containers: bool) -> None:
    """No start makes it there."""
    home = folders.init(tmp_path / "writ", 1) if containers else init(tmp_path / "writ", SITE)
    lost = home.public("policy")
    home.seed_file("policy").unlink()
    status, printed = await keys(home, "lost", "policy", "-o", "json")
    new = home.public("policy")
    step = {"name": "policy", "step": "retired", "old": lost, "new": new}
    assert (status, json.loads(printed)) == (0, {"ended": [step], "former_policy_keys": f"{lost}@NUMBER"})
    assert home.key("policy").public == new != lost
    assert yaml_file.read(home.public_file).data["policy"] == new
    again = {"ended": [], "former_policy_keys": f"{lost}@NUMBER"}
    assert json.loads((await keys(home, "lost", "policy", "-o", "json"))[1]) == again


async def test_steps_of_a_rotation_and_lost_keys_are_documents_for_programs(home: Home) -> None:
    status, printed = await keys(home, "rotate", "executor", "-o", "json")
    steps = [json.loads(line) for line in printed.splitlines()]
    assert (status, [one["step"] for one in steps]) == (0, ["announced", "switched", "retired"])
    assert await keys(home, "lost", "executor", "-o", "json") == (0, '{\n  "ended": []\n}\n')


@pytest.mark.parametrize("name", ["executor", "policy", "params", AGENT, LINK])
async def test_announced_key_whose_file_is_lost_is_ended(home: Home, name: str) -> None:
    before = listed(home, name) if name in {AGENT, LINK} else []
    announced = announce(home, name).new
    if name == "params":
        home.params_key.unlink()
        make_parameter_key(home.params_key)
    else:
        with pytest.raises(Conflict, match="is being rotated: finish it"):
            end_lost(home, name)
        home.keys.joinpath(f"{name}.next.seed").unlink()
        with pytest.raises(Conflict, match=f"run `writ keys lost {name}`"):
            switch(home, name)
    ended = "opens only what was stored and recorded before" if name == "params" else "is refused from now on"
    assert await keys(home, "lost", name) == (0, f"{name}: {announced} {ended}\n")
    assert announced not in [key for key, _ in states(home, name)]
    if before:
        assert listed(home, name) == before
    assert pending(home, name) == "announced"
    assert announce(home, name).new != announced
    switch(home, name)
    retire(home, name, LastRecords(event=5, version=1))
    assert [state for _, state in states(home, name) if state != "former"] == ["current"]


@pytest.mark.parametrize("name", [AGENT, LINK])
async def test_lost_key_of_a_pool_or_link_is_ended_by_its_entry_alone(home: Home, name: str) -> None:
    announce(home, name)
    switch(home, name)
    retire(home, name, LastRecords())
    lost = home.public(name)
    home.seed_file(name).unlink()
    status, printed = await keys(home, "lost", name)
    assert status == 2
    assert "remove its entry from" in printed
    assert lost in printed
    list_edits.replace(
        *((home.agents, "agents") if name == AGENT else (home.leaves, "leaves")), None, unique="key", value=lost
    )
    assert await keys(home, "lost", name) == (0, f"{name}: no lost key is accepted\n")


async def test_key_of_a_pool_that_is_lost_with_the_announced_one_names_the_way_out(home: Home) -> None:
    announce(home, AGENT)
    home.seed_file(AGENT).unlink()
    home.keys.joinpath(f"{AGENT}.next.seed").unlink()
    status, printed = await keys(home, "lost", AGENT)
    assert (status, "docs/operating/files.md" in printed) == (2, True)


async def test_key_that_is_lost_with_the_announced_one_is_ended_with_it(home: Home) -> None:
    made = announce(home, "executor")
    home.seed_file("executor").unlink()
    home.keys.joinpath("executor.next.seed").unlink()
    create_installation(home)
    refused = f"executor: {made.old} is refused from now on\nexecutor: {made.new} is refused from now on\n"
    assert await keys(home, "lost", "executor") == (0, refused)
    assert home.keys_of("executor") == [home.public("executor")]
    assert states(home, "executor") == [(made.old, "former"), (home.public("executor"), "current")]


async def test_end_of_a_lost_key_that_timed_out_is_waited_for_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message of the timeout says: repeat the command."""
    await rotate(home, "executor", lambda _: None)
    home.seed_file("executor").unlink()
    create_installation(home)
    waited: list[Home] = []

    async def late(waiting: Home) -> None:
        waited.append(waiting)
        raise TimedOut("the keys are not in force. Repeat the command")

    monkeypatch.setattr("writ_cli.installation.access.keys.followed", late)
    for _ in range(2):
        status, printed = await keys(home, "lost", "executor")
        assert (status, "Repeat the command" in printed) == (4, True)
    assert len(waited) == 2
    monkeypatch.undo()
    assert await keys(home, "lost", "executor") == (0, "executor: no lost key is accepted\n")

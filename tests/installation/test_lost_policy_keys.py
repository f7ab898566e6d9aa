"""Loss of policy's key in an installation of `writ init`, at each point of a rotation and of the command itself."""

from pathlib import Path

import pytest
from tests.installation.rotated_keys import create, keys, states

from writ_contracts.errors import ConfigError
from writ_documents import yaml_file
from writ_installation.administration import key_rotation
from writ_installation.administration.key_rotation import LastRecords, announce, retire, switch
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_installation.files.lost_policy_key import kept_former_keys, refuse_unknown_end
from writ_installation.files.site import Site
from writ_installation.initialise import init
from writ_installation.provisioner import folders
from writ_testing.installations.installation import RunningInstallation
from writ_trust.keys import generate_seed

SITE = Site(url="nats://127.0.0.1:4222", listen="127.0.0.1", port=4222, monitor_port=8222)


@pytest.fixture(params=["systemd", "containers"])
def home(tmp_path: Path, request: pytest.FixtureRequest) -> Home:
    folder = tmp_path / "writ"
    return folders.init(folder, 1) if request.param == "containers" else init(folder, SITE)


def rotate(home: Home) -> None:
    announce(home, "policy")
    switch(home, "policy")
    retire(home, "policy", LastRecords(event=5, version=1))


def lose(home: Home) -> str:
    lost = home.public("policy")
    home.seed_file("policy").unlink()
    return lost


async def test_retiring_key_is_named_with_the_lost_one(home: Home) -> None:
    """It signed nearly all that is on record."""
    old = announce(home, "policy").old
    switch(home, "policy")
    lost = lose(home)
    status, printed = await keys(home, "lost", "policy")
    value = f"{old}@NUMBER,{lost}@NUMBER"
    assert (status, f"WRIT_POLICY_FORMER_KEYS={value}\n" in printed) == (0, True), printed
    assert kept_former_keys(home) == value


def test_start_without_policys_key_needs_the_retiring_one_too(tmp_path: Path) -> None:
    home = create(tmp_path / "home")
    old = announce(home, "policy").old
    switch(home, "policy")
    lost = lose(home)
    with pytest.raises(ConfigError, match=rf"WRIT_POLICY_FORMER_KEYS={old}@NUMBER,{lost}@NUMBER\n"):
        create_installation(home, f"{lost}@3@71")
    create_installation(home, f"{old}@3@71,{lost}@3@71")
    assert kept_former_keys(home) == f"{old}@3@71,{lost}@3@71"


async def test_key_that_is_lost_again_under_writ_up_is_no_settled_loss(tmp_path: Path) -> None:
    home = create(tmp_path / "home")
    lost = lose(home)
    create_installation(home, f"{lost}@3@71")
    status, printed = await keys(home, "lost", "policy")
    assert (status, "next:" in printed) == (0, False), printed
    lose(home)
    status, printed = await keys(home, "lost", "policy")
    assert (status, "WRIT_POLICY_KEY" in printed) == (2, False), printed


async def test_value_is_kept_as_shown_where_no_state_of_policy_is_here(home: Home) -> None:
    """The entries of `keyring.json` are removed then, and were the only record of the keys before."""
    first = home.public("policy")
    rotate(home)
    value = f"{first}@1@5,{lose(home)}@NUMBER"
    for _ in range(2):
        status, printed = await keys(home, "lost", "policy")
        assert (status, f"WRIT_POLICY_FORMER_KEYS={value}\n" in printed) == (0, True), printed
        assert "NUMBER: the last version of the policy that the key signed" in printed.replace("\n", " ")
        assert f"WRIT_POLICY_KEY={home.public('policy')}\n" in printed
    assert (kept_former_keys(home), states(home, "policy")) == (value, [])


async def test_key_that_was_said_to_be_lost_ends_no_other_key(home: Home) -> None:
    seed, file = home.seed_file("policy").read_bytes(), home.seed_file("policy")
    declared = lose(home)
    await keys(home, "lost", "policy")
    rotate(home)
    present, before = home.public("policy"), home.keyring()
    file.write_bytes(seed)
    status, printed = await keys(home, "lost", "policy")
    assert (status, f"holds {declared}, which was said to be lost" in printed) == (2, True), printed
    assert (home.keyring(), present in home.keys_of("policy")) == (before, True)


@pytest.mark.parametrize("at", ["end_policy_entries", "write_public"])
async def test_interrupted_replacement_is_finished_by_the_same_command(
    home: Home, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    lost, whole = lose(home), getattr(key_rotation, at)

    def interrupted(of: Home) -> None:
        if at == "end_policy_entries":
            whole(of)
        raise OSError("interrupted")

    monkeypatch.setattr(key_rotation, at, interrupted)
    assert (await keys(home, "lost", "policy"))[0] != 0
    monkeypatch.undo()
    status, printed = await keys(home, "lost", "policy")
    assert (status, f"policy: {lost} is refused from now on\n" in printed) == (0, True), printed
    assert yaml_file.read(home.public_file).data["policy"] == home.key("policy").public != lost
    assert kept_former_keys(home) == f"{lost}@NUMBER"


async def test_announced_key_is_used_where_the_present_one_is_lost(home: Home) -> None:
    made = announce(home, "policy")
    lose(home)
    status, printed = await keys(home, "lost", "policy")
    assert (status, "`writ keys rotate policy` uses it" in printed) == (2, True), printed
    await keys(home, "rotate", "policy", "--hosts-ready")  # its last step needs NATS
    assert home.key("policy").public == made.new
    assert states(home, "policy") == [(made.old, "retiring"), (made.new, "current")]


async def test_announced_key_that_is_lost_too_is_ended_with_the_present_one(home: Home) -> None:
    made = announce(home, "policy")
    lose(home)
    home.keys.joinpath("policy.next.seed").unlink()
    status, printed = await keys(home, "lost", "policy")
    ended = [f"policy: {key} is refused from now on\n" in printed for key in (made.old, made.new)]
    assert (status, ended) == (0, [True, True]), printed
    assert home.keys_of("policy") == [home.key("policy").public]
    assert kept_former_keys(home) == f"{made.old}@NUMBER"


async def test_start_with_the_word_number_in_the_kept_value_says_what_to_write_there(tmp_path: Path) -> None:
    """Under `writ up` nobody sees policy's environment: the command and the next start name the file."""
    home = create(tmp_path / "home")
    lost = replaced_by_hand(home)
    status, printed = await keys(home, "lost", "policy")
    words = printed.replace("\n", " ")
    assert (status, f"replace the word NUMBER in {home.former_policy_keys}" in words) == (0, True), printed
    assert "NUMBER: the last version of the policy that the key signed" in words
    refused = await RunningInstallation(home, {}, ()).writ("up", "--home", str(home.root))
    assert (refused.status, f"{home.former_policy_keys} says NUMBER" in refused.err) == (2, True), refused
    assert (f"{lost}@NUMBER" in refused.err, "Append @EVENT" in refused.err) == (True, True), refused
    home.former_policy_keys.write_text(f"{lost}@3@71\n")
    refuse_unknown_end(home)


@pytest.mark.parametrize("end", ["", "@", "@three", "@3@", "@3@71@9", "@NUMBER@71"])
def test_start_with_a_kept_value_that_policy_refuses_says_where_it_is(tmp_path: Path, end: str) -> None:
    home = create(tmp_path / "home")
    home.former_policy_keys.write_text(f"U@1@7, UB{end}\n")
    with pytest.raises(ConfigError, match="Each entry is KEY@NUMBER or KEY@NUMBER@EVENT") as refused:
        refuse_unknown_end(home)
    assert (str(home.former_policy_keys) in str(refused.value), f"UB{end}" in str(refused.value)) == (True, True)
    refuse_unknown_end(home, "UB@3")  # the value that is given is used in its place
    home.former_policy_keys.write_text("U@1@7, UB@3\n")  # policy accepts a space
    refuse_unknown_end(home)


def replaced_by_hand(home: Home) -> str:
    """Return the rotated key that is listed, in whose place there is another file. No state of policy is here."""
    rotate(home)
    lost = home.public("policy")
    home.seed_file("policy").write_bytes(generate_seed())
    return lost


def test_missing_key_without_a_state_of_policy_says_what_number_stands_for(tmp_path: Path) -> None:
    home = create(tmp_path / "home")
    lost = lose(home)
    for given in ("", f"{lost}@NUMBER"):  # the second is pasted as shown
        with pytest.raises(
            ConfigError, match=r"=U\w+@NUMBER\nNUMBER: the last version of the policy that the key signed"
        ):
            create_installation(home, given)

"""The first files of an installation, and entries added to files with edits by hand."""

import errno
import os
import stat
import sysconfig
from collections.abc import Callable
from itertools import count
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_contracts.errors import ConfigError, Conflict, Invalid, Unreachable
from writ_contracts.ids import TOKEN_PATTERN
from writ_contracts.installation.keyring import KeyEntry, Keyring
from writ_documents import yaml_file
from writ_documents.readers import read_agents, read_inventory, read_principals
from writ_installation.administration.principals import add_principal
from writ_installation.administration.targets import refuse_known
from writ_installation.files import list_edits
from writ_installation.files.create import add_missing_pools, create_installation, default_policy, undone_on_failure
from writ_installation.files.home import Home, host_token, is_here
from writ_installation.files.lost_keys import lost_keys
from writ_installation.files.lost_policy_key import kept_former_keys
from writ_installation.nats import disk
from writ_installation.nats.disk import check_room_for_new
from writ_installation.supervisor.detached_start import detach
from writ_installation.supervisor.options import SupervisorOptions
from writ_installation.supervisor.supervisor import Supervisor
from writ_runtime.signals import StopSignal
from writ_trust.keys import Key, generate_seed

ROOT = Path(__file__).parents[2]


def test_the_policy_of_a_new_installation_is_the_shipped_one() -> None:
    assert default_policy() == (ROOT / "policies" / "development-flexible.yaml").read_bytes()


def test_creating_an_installation_again_changes_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert create_installation(home)
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    assert not create_installation(home)
    assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before


async def test_principal_that_exists_is_refused_with_the_command_that_changes_its_roles(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    await add_principal(home, "bob", "human", [], None)
    with pytest.raises(Conflict, match=r"there is a principal bob already; `writ principal roles bob ROLE…` sets"):
        await add_principal(home, "bob", "human", ["approver"], None)


@pytest.fixture
def fail_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function: the sync with this number from now on fails, counted from 1, as on a full disk."""
    sync, left = os.fsync, 0

    def failing(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    def set_number(number: int) -> None:
        nonlocal left
        left = number

    monkeypatch.setattr(os, "fsync", failing)
    return set_number


def test_creation_that_failed_at_any_write_is_undone_by_the_start(
    tmp_path: Path, fail_at: Callable[[int], None]
) -> None:
    """Such as on a full disk. What was there before stays, also where the folder is new to Writ."""
    for number in count(1):
        folder = tmp_path / str(number)
        home = Home(folder / "home")
        fail_at(number)
        if existed := number % 2 == 0:
            home.root.mkdir(parents=True)
            home.policy.write_bytes(default_policy())
        before = sorted(folder.rglob("*"))
        try:
            with undone_on_failure(home, existed=existed):
                create_installation(home)
        except OSError:
            assert sorted(folder.rglob("*")) == before
        else:
            with pytest.raises(Conflict), undone_on_failure(home, existed=True):
                raise Conflict("of another installation, which was there")
            assert home.principals.exists()
            assert number > 10
            return


async def test_new_installation_is_refused_on_a_disk_without_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "new" / ".writ")
    check_room_for_new(home)
    monkeypatch.setattr(disk, "ROOM", 1 << 60)
    options = SupervisorOptions(nats_port=0)
    for start in (detach(home, [], print), Supervisor(home, options, {}, print).run(StopSignal(), print)):
        with pytest.raises(
            OSError, match=r" MB free, and a new installation needs \d+ MB: nothing was made"
        ) as refused:
            await start
        assert (refused.value.errno, refused.value.filename) == (errno.ENOSPC, str(home.root))
        assert list(tmp_path.iterdir()) == []
    create_installation(home)
    check_room_for_new(home)


async def test_new_installation_without_a_nats_server_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "umask", lambda _: 0)  # of this process; so is the limit
    monkeypatch.setattr("writ_installation.supervisor.supervisor.no_core_files", lambda: None)
    starting = Supervisor(Home(tmp_path / ".writ"), SupervisorOptions(nats_port=0), {}, print)
    with pytest.raises(Unreachable, match="there is no nats-server"):
        await starting.run(StopSignal(), print)
    assert list(tmp_path.iterdir()) == []


def test_creation_that_was_killed_at_any_write_is_completed_by_the_next_one(
    tmp_path: Path, fail_at: Callable[[int], None]
) -> None:
    for number in count(1):
        home = Home(tmp_path / str(number))
        fail_at(number)
        try:
            create_installation(home)
        except OSError:
            create_installation(home)
            before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
            assert not create_installation(home)
            assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before
            assert [one.id for one in read_principals(home.principals).principals] == ["operator"]
            assert [one.id for one in read_inventory(home.inventory).targets] == [host_token()]
            assert home.key("principal-operator").public == read_principals(home.principals).principals[0].key
        else:
            assert number > 10, "each file is synced"
            return


def test_an_operators_own_files_are_kept(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.root.mkdir()
    home.inventory.write_text("targets:\n  - {id: web-1, role: production, backend: ssh}\n")
    assert create_installation(home)
    assert [target.id for target in read_inventory(home.inventory).targets] == ["web-1"]
    assert [agent.pool for agent in read_agents(home.agents).agents] == ["ssh"]


def test_this_machine_is_a_target_with_a_folder_of_its_own(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    create_installation(home)
    (target,) = read_inventory(home.inventory).targets
    assert (target.id, target.role, target.pool) == (host_token(), "development", f"local-{host_token()}")
    assert [root.path for root in target.roots()] == [str(home.sandbox)]
    assert is_here(str(target.connection["host"]))
    assert not is_here("elsewhere")


def test_a_host_name_always_makes_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    for name in ("web-1.example.org", "büro", "", "a" * 200, "-"):
        monkeypatch.setattr("socket.gethostname", lambda name=name: name)
        assert re.search(TOKEN_PATTERN, host_token())


def test_a_key_is_made_once_and_never_shown(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    key = home.make_key("policy")
    assert home.make_key("policy").public == key.public
    assert stat.S_IMODE(home.seed_file("policy").stat().st_mode) == 0o600
    for name in ("../etc", "a.b", "", "a" * 65):
        with pytest.raises(Invalid):
            home.seed_file(name)
    home.seed_file("policy").write_text("SUNOTAKEY")
    with pytest.raises(ConfigError) as caught:
        home.key("policy")
    assert "SUNOTAKEY" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_no_home(tmp_path: Path) -> None:
    theirs, behind_a_link = tmp_path / "theirs", tmp_path / "link"
    theirs.mkdir(mode=0o755)
    behind_a_link.symlink_to(theirs)
    os.chown(theirs, 4711, 4711)
    for root in (theirs, behind_a_link):
        with pytest.raises(ConfigError, match="belongs to another user"):
            create_installation(Home(root))
    assert list(theirs.iterdir()) == []


def test_pools_that_are_new_in_the_inventory_get_keys_once(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    create_installation(home)
    list_edits.append(home.inventory, "targets", {"id": "d", "role": "testing", "backend": "docker"}, unique="id")
    assert add_missing_pools(home) == ["docker"]
    assert add_missing_pools(home) == []


FORMS = {
    "empty": "principals: []\n",
    "dumped": "# who\nprincipals:\n- id: a\n  roles:\n  - x\n",
    "indented": "# who\nprincipals:\n  # the first\n  - id: a   # she\n    roles: [x]\n",
    "nested": "principals:\n    - id: a\n      roles:\n          - x\n",
    "flow": "# who\nprincipals: [{id: a, roles: [x]}]  # the first\n",
    "flow in lines": "principals: [\n  {id: a, roles: [x]},  # the first\n  ]\n",
    "without an end": "principals:\n- id: a\n  roles: [x]",
    "more after it": "principals:\n- id: a  # the first\n  roles: [x]\nother: 1\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_an_entry_is_added_to_every_form_of_list(tmp_path: Path, form: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(FORMS[form])
    before = yaml_file.read(path).data
    list_edits.append(path, "principals", {"id": "b", "roles": ["y", "z"]}, unique="id")
    after = yaml_file.read(path).data
    assert after == {**before, "principals": [*before["principals"], {"id": "b", "roles": ["y", "z"]}]}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for comment in ("# who", "# the first", "# she"):
        assert (comment in path.read_text()) == (comment in FORMS[form])
    with pytest.raises(Conflict, match="'b' exists already"):
        list_edits.append(path, "principals", {"id": "b"}, unique="id")


@given(st.text(max_size=40))
def test_any_value_is_read_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("lists") / "file.yaml"
    path.write_text("targets:\n- id: a\n")
    list_edits.append(path, "targets", {"id": "b", "note": text}, unique="id")
    assert yaml_file.read(path).data["targets"][1] == {"id": "b", "note": text}


def test_new_installation_has_one_operator(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    create_installation(home)
    (operator,) = read_principals(home.principals).principals
    assert (operator.id, operator.kind, operator.roles) == ("operator", "human", ["operator", "admin"])
    assert operator.key == home.key("principal-operator").public


def test_a_key_that_an_installation_lost_is_named_before_a_new_one_is_made(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert lost_keys(home) == []
    create_installation(home)
    assert lost_keys(home) == []
    for path in (home.seed_file("audit"), home.params_key):
        path.unlink()
    audit, params = lost_keys(home)
    assert audit == f"{home.seed_file('audit')} is missing, so a new key is made"
    assert "can no longer be read" in params
    create_installation(home)
    assert lost_keys(home) == []


async def test_a_lost_policy_key_is_replaced_only_if_the_former_one_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    create_installation(home)
    lost = home.public("policy")
    home.seed_file("policy").unlink()
    home.seed_file("audit").unlink()
    (home.state / "policy.2").mkdir()
    (home.state / "policy.2" / "policy-version.json").write_text('{"number":3,"digest":"d"}')
    (home.state / "policy.2" / "journal.json").write_text('{"created":"c","sequence":71,"digest":"d"}')
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    for named in ("", "U@1@7", f"U@1@7,{lost[:-1]}@3@71", lost, f"{lost}@3@EVENT"):
        with pytest.raises(ConfigError) as refused:
            create_installation(home, named)
        assert str(refused.value).startswith(f"{home.seed_file('policy')} is missing. Nothing was started")
        assert f"  WRIT_POLICY_FORMER_KEYS={lost}@3@71\n" in str(refused.value)
    with pytest.raises(ConfigError, match=r"policy\.seed is missing"):
        await add_principal(home, "alice", "human", [], None)
    with pytest.raises(ConfigError, match=r"policy\.seed is missing"):
        refuse_known(home, "nas")
    assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before
    create_installation(home, f"U@1@7, {lost}@3@71")
    assert home.public("policy") != lost
    assert kept_former_keys(home) == f"U@1@7,{lost}@3@71"
    create_installation(home)
    assert kept_former_keys(home) == f"U@1@7,{lost}@3@71"
    create_installation(home, f"{lost}@3@72")  # an event that was corrected
    create_installation(home, f"{lost}@3@EVENT")  # policy refuses it
    assert kept_former_keys(home) == f"{lost}@3@72"
    assert home.former_policy_keys.stat().st_mode & 0o777 == 0o600


def test_former_policy_key_that_is_in_use_again_is_not_given_to_policy(tmp_path: Path) -> None:
    """Somebody found a copy of the lost key."""
    home = Home(tmp_path / "home")
    create_installation(home)
    seed, lost = home.seed_file("policy").read_bytes(), home.public("policy")
    home.seed_file("policy").unlink()
    create_installation(home, f"U@1@7,{lost}@3@71")
    home.seed_file("policy").write_bytes(seed)
    assert kept_former_keys(home) == "U@1@7"


def test_second_loss_of_policys_key_names_the_key_that_was_lost_before(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    create_installation(home)
    first = home.public("policy")
    home.seed_file("policy").unlink()
    create_installation(home, f"{first}@3@71")
    second = home.public("policy")
    home.seed_file("policy").unlink()
    with pytest.raises(ConfigError, match=rf"WRIT_POLICY_FORMER_KEYS={first}@3@71,{second}@NUMBER\n"):
        create_installation(home)


def test_lost_policy_key_is_removed_from_the_keyring_and_no_other_key_is(tmp_path: Path) -> None:
    """Policy signs with no key that its entries lack. The others say which keys of services are refused."""
    home = Home(tmp_path / "home")
    create_installation(home)
    lost, former = home.public("policy"), Key(generate_seed()).public
    first = KeyEntry(name="policy", key=former, state="former", since=1.0, until=2.0, last_event=7, last_version=1)
    other = KeyEntry(name="executor", key=Key(generate_seed()).public, state="former", since=1.0, until=2.0)
    keyring = Keyring(keys=[first, other, KeyEntry(name="policy", key=lost, state="current", since=2.0)])
    home.keyring_file.write_bytes(msgspec.json.encode(keyring))
    home.seed_file("policy").unlink()
    with pytest.raises(ConfigError) as refused:
        create_installation(home, f"{lost}@3@71")  # without the key before it, whose versions would not count
    assert home.keyring_file.name not in str(refused.value)
    assert f"={former}@1@7,{lost}@NUMBER\n" in str(refused.value)
    assert home.keyring() == keyring
    create_installation(home, f"{former}@1@7,{lost}@3@71")
    assert home.keys_of("policy") == [home.public("policy")] != [lost]
    assert home.keyring().keys == [other]
    create_installation(home)
    assert home.keyring().keys == [other]

"""`writ init`: its files, their owners, and that it never overwrites."""

import asyncio
import grp
import json
import os
import pwd
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec import structs

from writ_contracts.errors import ConfigError, Conflict
from writ_documents.readers import read_agents, read_inventory, read_principals
from writ_installation import initialise
from writ_installation.administration.targets import HostKey, NewTarget, SshAddress, add_ssh_target
from writ_installation.files import ssh_keys
from writ_installation.files.create import SERVICES, create_installation
from writ_installation.files.home import Home, host_token
from writ_installation.files.site import Site
from writ_installation.initialise import init
from writ_installation.nats.stream_sizes import LEAST, LEAST_POLICIES, sizes, sizes_for
from writ_nats_server.process import find_binary

SITE = Site(url="nats://writ.example.org:4222", listen="127.0.0.1", port=4222, monitor_port=8222)
SOMEBODY = "daemon"
SOMEBODY_ELSE = "nobody"
"""Users on every Debian; the first with a group of its name."""
TLS = "tty"
"""Another group of every Debian."""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


def modes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): stat.S_IMODE(path.lstat().st_mode) for path in root.rglob("*")}


def test_init_makes_each_file_private_and_complete_for_writ_up(tmp_path: Path) -> None:
    home = init(tmp_path / "home", SITE)
    for path, mode in modes(home.root).items():
        assert mode == (0o700 if (home.root / path).is_dir() else 0o600), path
    pool = f"local-{host_token()}"
    assert [target.pool for target in read_inventory(home.inventory).targets] == [pool]
    assert [agent.key for agent in read_agents(home.agents).agents] == [home.key(f"agent-{pool}").public]
    assert [one.id for one in read_principals(home.principals).principals] == ["operator"]
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    assert not create_installation(Home(home.root))
    assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["store", "Jürgen Müller", 'a "quoted" one', "back\\slash", "$HOME", "数据"])
def test_the_nats_server_takes_the_configuration(tmp_path: Path, name: str) -> None:
    store = str(tmp_path / name)
    home = init(tmp_path / name / "home", structs.replace(SITE, store=store))
    done = subprocess.run(
        [find_binary(), "-t", "-c", home.server_config], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.dumps(store, ensure_ascii=False) in home.server_config.read_text()


def test_public_keys_are_known_to_who_may_not_read_the_private_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = init(tmp_path / "home", SITE)
    keys = {name: home.key(name).public for name in SERVICES}
    monkeypatch.setattr("os.access", lambda *_: False)
    assert {name: home.public(name) for name in SERVICES} == keys
    with pytest.raises(ConfigError, match="no key of nobody"):
        home.public("nobody")
    for seed in home.keys.glob("*.seed"):
        assert seed.read_text().strip() not in home.public_file.read_text()


@pytest.mark.parametrize("there", ["policy.yaml", "keys", ".hidden"])
def test_a_folder_with_anything_in_it_is_refused_and_left_alone(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(Conflict, match="is not empty"):
        init(tmp_path, SITE)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "mine")]


def test_an_installation_is_never_made_over_another(tmp_path: Path) -> None:
    home = init(tmp_path / "home", SITE)
    key = home.key("policy").public
    with pytest.raises(Conflict):
        init(home.root, SITE)
    assert home.key("policy").public == key


def test_one_of_many_concurrent_inits_creates_the_installation(tmp_path: Path) -> None:
    def attempt(_: int) -> Home | Conflict:
        try:
            return init(tmp_path / "home", SITE)
        except Conflict as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        made = [one for one in pool.map(attempt, range(8)) if isinstance(one, Home)]
    assert len(made) == 1
    assert made[0].public("policy") == made[0].key("policy").public


def test_unfinished_init_leaves_nothing_and_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Home) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(initialise, "sizes", full)
        with pytest.raises(OSError, match="No space"):
            init(tmp_path / "home", SITE)
    assert list((tmp_path / "home").iterdir()) == []
    assert init(tmp_path / "home", SITE).policy.exists()


@pytest.mark.parametrize("free", [44 << 20, 60 << 20, 150 << 20, 1 << 30, 1 << 40])
def test_sizes_of_a_new_installation_fit_its_disk(free: int) -> None:
    chosen = sizes_for(free)
    limits = (chosen.journal, chosen.params, chosen.results, chosen.policies, chosen.scans)
    assert sum(limits) <= free
    assert min(limits) >= LEAST
    assert chosen.policies >= LEAST_POLICIES
    assert chosen.journal >= free // 3 or chosen.journal == 8 << 30


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"journal": -5}', r"int` >= 1000000 - at `\$\.journal`"),
        ('{"jurnal": 17179869184}', "unknown field `jurnal`"),
        ('{"replicas": 0}', r"at `\$\.replicas`"),
        ("17179869184", "Expected `object`"),
        ("", "truncated"),
    ],
)
def test_sizes_that_cannot_be_are_refused_with_their_file_and_never_half_taken(
    tmp_path: Path, text: str, problem: str
) -> None:
    home = init(tmp_path / "home", SITE)
    home.sizes.write_text(text)
    with pytest.raises(ConfigError, match=rf"sizes\.json: .*{problem}"):
        sizes(home)


@as_root
def test_split_installation_gives_root_the_keys_and_the_provisioner_its_own_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initialise, "GROUP", SOMEBODY)
    monkeypatch.setattr(ssh_keys, "SSH_AGENT", SOMEBODY_ELSE)
    monkeypatch.setattr(initialise, "TLS_GROUP", TLS)
    keeper = pwd.getpwnam(SOMEBODY)
    site = structs.replace(SITE, listen="0.0.0.0")
    home = init(tmp_path / "etc", structs.replace(site, state=str(tmp_path / "var"), store=str(tmp_path / "store")))
    assert (home.root.stat().st_uid, home.root.stat().st_gid) == (0, keeper.pw_gid)
    assert stat.S_IMODE(home.keys.stat().st_mode) & 0o777 == 0o700
    for path in home.keys.iterdir():
        assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (0, 0o600)
    for path in (home.policy, home.inventory, home.principals, home.public_file, home.site_file):
        found_as = path.stat()
        assert (found_as.st_uid, found_as.st_gid, stat.S_IMODE(found_as.st_mode)) == (0, keeper.pw_gid, 0o640), path
    certificates = {home.certificates, *home.certificates.iterdir()}
    for path in {home.written, *home.written.rglob("*")} - certificates:
        assert (path.stat().st_uid, path.stat().st_gid) == (keeper.pw_uid, keeper.pw_gid), path
        assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0, path
    assert {path.stat().st_gid for path in certificates} == {grp.getgrnam(TLS).gr_gid}
    assert {path.stat().st_uid for path in certificates} == {keeper.pw_uid}
    assert {stat.S_IMODE(path.stat().st_mode) & 0o027 for path in certificates} == {0}
    assert not create_installation(home)
    assert read_agents(home.agents).agents == []


@as_root
def test_split_a_targets_key_is_the_ssh_agents_alone_who_enters_no_folder_of_the_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initialise, "GROUP", SOMEBODY)
    monkeypatch.setattr(ssh_keys, "SSH_AGENT", SOMEBODY_ELSE)
    monkeypatch.setattr(initialise, "TLS_GROUP", SOMEBODY_ELSE)
    agent = pwd.getpwnam(SOMEBODY_ELSE)
    home = init(tmp_path / "etc", structs.replace(SITE, state=str(tmp_path / "var")))
    wish = NewTarget(name="web-1", role="testing", address=SshAddress("root", "web-1.example.org"))
    added = asyncio.run(add_ssh_target(home, wish, HostKey(f"ssh-ed25519 {'A' * 68}", "SHA256:-")))
    key = Path(added.key_file)
    assert key == tmp_path / "etc-ssh" / "web-1"
    folder = key.parent.stat()
    assert (folder.st_uid, folder.st_gid, stat.S_IMODE(folder.st_mode)) == (0, agent.pw_gid, 0o750)
    assert (key.stat().st_uid, stat.S_IMODE(key.stat().st_mode)) == (agent.pw_uid, 0o600)
    assert [path.name for path in home.keys.iterdir() if path.is_dir()] == []
    assert stat.S_IMODE(home.root.stat().st_mode) & 0o007 == 0


@as_root
@pytest.mark.parametrize("missing", ["GROUP", "SSH_AGENT"])
def test_split_without_its_users_says_how_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(initialise, "GROUP", "writ-nobody" if missing == "GROUP" else SOMEBODY)
    monkeypatch.setattr(ssh_keys, "SSH_AGENT", "writ-nobody" if missing == "SSH_AGENT" else SOMEBODY_ELSE)
    with pytest.raises(ConfigError, match="systemd-sysusers"):
        init(tmp_path / "etc", structs.replace(SITE, state=str(tmp_path / "var")))
    assert list(tmp_path.iterdir()) == []


def test_the_command_starts_nothing_and_shows_no_private_key(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "writ_cli", "init", "--home", str(tmp_path / "home")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    home = Home(tmp_path / "home")
    assert home.public("policy") in done.stdout
    for seed in home.keys.glob("*.seed"):
        assert seed.read_text().strip() not in done.stdout
    assert not home.report_file.exists()
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (again.returncode, again.stdout) == (2, "")

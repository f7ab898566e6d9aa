"""`writ uninstall` on a folder of `writ up`, and on the layout of the units with a stand-in for systemctl."""

import os
import re
import shutil
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from writ_cli.context.settings import Settings
from writ_cli.main import cli
from writ_contracts.errors import Conflict
from writ_installation.administration import uninstall
from writ_installation.administration.system_units import UNITS, SystemPaths
from writ_installation.administration.uninstall import UninstallPlan
from writ_installation.files.create import create_installation, make_files
from writ_installation.files.home import Home
from writ_installation.files.lock import held
from writ_installation.files.site import Site
from writ_installation.processes.child import Child
from writ_installation.processes.services import ProcessTable, Replicas, ServiceProcess, agents, core
from writ_installation.supervisor.replacement import _replica, has_replicas

JOURNAL = "nats/jetstream/jetstream/CORE/streams/WRIT_JOURNAL/msgs/1.blk"
RECORD = {"nats", "restored.json", "public.yaml", "installation.yaml"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / ".writ")
    create_installation(made)
    made_later = ("nats/jetstream/ocsp/cache", "log/up.log", "state/audit/audit.sqlite", ".agents.yaml.lock")
    for name in (JOURNAL, "restored.json", *made_later):
        (made.root / name).parent.mkdir(parents=True, exist_ok=True)
        (made.root / name).write_text("x")
    return made


def writ(home: Home, *words: str) -> Result:
    return CliRunner(env={"WRIT_HOME": str(home.root)}).invoke(cli, ["uninstall", *words])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_dry_run_lists_every_part_and_removes_none(home: Home) -> None:
    before = sorted(home.root.rglob("*"))
    done = writ(home, "--dry-run", "-o", "json")
    plan = msgspec.json.decode(done.stdout)
    listed = [Path(one["path"]) for one in (*plan["remove"], *plan["keep"])]
    files = [path for path in before if path.is_file()]
    assert [path for path in files if not any(path.is_relative_to(one) for one in listed)] == []
    assert sorted(home.root.rglob("*")) == before


def test_uninstall_asks_first(home: Home) -> None:
    done = writ(home)
    assert (done.exit_code, "--yes" in done.output) == (2, True)
    assert home.principals.exists()


def test_record_stays_without_the_option_records(home: Home) -> None:
    assert writ(home, "--yes").exit_code == 0
    assert names(home.root) == RECORD
    assert (home.root / JOURNAL).exists()
    assert not home.sandbox.exists()
    assert writ(home, "--yes", "--records").exit_code == 0
    assert not home.root.exists()
    assert writ(home, "--yes", "--records").exit_code == 2


def test_records_go_with_everything_else(home: Home) -> None:
    assert writ(home, "--yes", "--records").exit_code == 0
    assert not home.root.exists()


def test_files_of_others_stay_and_are_named(home: Home) -> None:
    (home.root / "archives").mkdir()
    (home.root / "archives/2026.archive").write_text("x")
    (home.sandbox / "work").write_text("x")
    done = writ(home, "--yes", "--records")
    assert done.exit_code == 0
    assert names(home.root) == {"archives"}
    assert (home.sandbox / "work").exists()
    assert f"stays: {home.root}/archives  (not made by Writ)" in done.stdout


def test_files_of_others_in_folders_of_writ_stay_and_are_named(home: Home) -> None:
    home.inventory.write_text("targets: [{id: web1, role: testing, backend: ssh, connection: {host: h}}]\n")
    mine = ["keys/ssh/web1", "keys/ssh/web1.pub", "log/audit.log.1", "run/policy.json", "state/agent-ssh-2/spool"]
    others = ["keys/my-ca.pem", "keys/ssh/id_ed25519", "log/notes.txt", "state/mine/x", "tokens/README"]
    for name in (*mine, *others):
        (home.root / name).parent.mkdir(parents=True, exist_ok=True)
        (home.root / name).write_text("x")
    assert (done := writ(home, "--yes", "--records", "--leave-hosts")).exit_code == 0
    left = sorted(str(path.relative_to(home.root)) for path in home.root.rglob("*") if path.is_file())
    assert left == sorted(others)
    for name in ("keys/my-ca.pem", "keys/ssh/id_ed25519", "log/notes.txt", "state/mine", "tokens/README"):
        assert f"stays: {home.root}/{name}  (not made by Writ, or of a former target)" in done.stdout
    assert re.search(rf"^removed: \d+ in {home.keys}  .+: .*executor\.seed, .*policy\.seed", done.stdout, re.MULTILINE)
    assert f"removed: {home.run}  " in done.stdout


@pytest.mark.parametrize("each", [1, 3])
def test_files_of_all_replicas_are_removed(home: Home, each: int) -> None:
    for service in replicas_of(home, each):
        child = Child(service, home, {}, print)
        for file in (child.log, child.run_file, Path(service.env["WRIT_STATE_DIR"]) / "spool"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("x")
    done = writ(home, "--yes", "--records")
    assert (done.exit_code, "stays: " in done.stdout) == (0, False), done.stdout
    assert not home.root.exists()


def replicas_of(home: Home, each: int) -> list[ServiceProcess]:
    """Return the processes of `writ up`, and those at work while one of them is replaced."""
    counts = Replicas(policies=each, executors=each, audits=each, agents=each)
    pools = {"local-main": "local", "ssh": "ssh"}
    for pool in pools:
        home.make_key(f"agent-{pool}")
    table, url = ProcessTable(), "nats://127.0.0.1:1"
    found = [*core(table, home, url, counts, {}), *agents(table, home, url, pools, {}, each)]
    return [*found, *(_replica(home, one) for one in found if has_replicas(one))]


LATE = ("keys/late.pem", "keys/ssh/late", "state/mine/late", "late")


def test_file_that_appears_while_the_question_waits_stays_and_is_named(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.keys / "ssh").mkdir(exist_ok=True)

    def confirm(settings: Settings, plan: UninstallPlan) -> None:
        assert str(home.keys) in {one.path for one in plan.remove}
        for name in LATE:
            (home.root / name).parent.mkdir(parents=True, exist_ok=True)
            (home.root / name).write_text("x")
        (home.sandbox / "late").write_text("x")

    monkeypatch.setattr("writ_cli.installation.processes.uninstall._confirm", confirm)
    done = writ(home, "--records")
    assert done.exit_code == 0
    left = sorted(str(path.relative_to(home.root)) for path in home.root.rglob("*") if path.is_file())
    assert left == sorted(LATE)
    assert (home.sandbox / "late").exists()
    for path in (home.keys / "late.pem", home.keys / "ssh/late", home.state / "mine", home.sandbox, home.root / "late"):
        assert f"stays: {path}  (" in done.stdout
    assert re.search(rf"^removed: \d+ in {home.keys}  .*, policy\.seed", done.stdout, re.MULTILINE)
    whole = (home.keys, home.keys / "docker", home.state, home.sandbox)
    assert not any(f"removed: {one}  " in done.stdout for one in whole)
    assert f"removed: {home.log}  " in done.stdout


def test_folder_of_others_files_alone_is_named_once(home: Home) -> None:
    (home.keys / "my-ca.pem").write_text("x")
    assert writ(home, "--yes").exit_code == 0
    again = writ(home, "--yes", "--records")
    assert again.exit_code == 0
    assert again.stdout.count(str(home.keys)) == 1
    assert names(home.root) == {"keys"}


def test_link_in_place_of_a_folder_is_removed_itself(home: Home, tmp_path: Path) -> None:
    (home.log / "up.log").unlink()
    home.log.rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_text("x")
    home.log.symlink_to(tmp_path / "elsewhere")
    assert writ(home, "--yes", "--records").exit_code == 0
    assert (tmp_path / "elsewhere/file").exists()


def test_hosts_are_cleaned_first_or_left_on_purpose(home: Home) -> None:
    entry = "- {id: web1, role: testing, backend: ssh, connection: {host: web1.example.org, user: ops}}\n"
    home.inventory.write_text(home.inventory.read_text() + entry)
    refused = writ(home, "--yes")
    assert (refused.exit_code, "writ target remove NAME --clean` for web1" in refused.output) == (2, True)
    assert "host: writ target remove web1 --clean" in writ(home, "--dry-run").stdout
    assert writ(home, "--yes", "--leave-hosts").exit_code == 0


def test_running_installation_is_refused(home: Home) -> None:
    with held(home.lock):
        done = writ(home, "--yes")
    assert (done.exit_code, "`writ down` first" in done.output) == (2, True)
    assert home.principals.exists()


def test_dry_run_lists_the_parts_of_a_running_installation(home: Home) -> None:
    with held(home.lock):
        done = writ(home, "--dry-run")
    assert done.exit_code == 0, done.output
    assert f"would remove: {home.principals}" in done.stdout
    assert home.principals.exists()


def test_folder_with_one_file_of_a_common_name_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "project")
    (home.root / "keys").mkdir(parents=True)
    for name in ("people.json", "principals.yaml", "public.yaml", "keyring.json", "keys/mine"):
        (home.root / name).write_text("[]")
    done = writ(home, "--yes", "--records")
    assert (done.exit_code, "is not an installation" in done.output) == (2, True)
    home.installation_file.write_text("name: somebody's\n")
    assert writ(home, "--yes", "--records").exit_code == 2
    assert (home.keys / "mine").exists()
    assert home.people_file.exists()


def test_root_and_the_users_own_folder_are_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home.root))
    for folder in (home, Home(Path("/"))):
        with pytest.raises(Conflict, match="never removed"):
            uninstall.plan(folder, records=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", ["", "site.yaml"])
def test_installation_of_another_user_is_refused(home: Home, name: str) -> None:
    (home.root / "site.yaml").write_text("{url: x, listen: x, port: 1, monitor_port: 2, state: /}")
    os.chown(home.root / name, 65534, 65534)
    done = writ(home, "--yes")
    assert (done.exit_code, "belongs to another user" in done.output) == (2, True)
    assert home.principals.exists()


SYSTEMCTL = """#!{python}
import sys
if sys.argv[1] in ("stop", "reset-failed") and not all("*" in word for word in sys.argv[2:]):
    sys.exit("Unit not loaded")
open({record!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
sys.exit({status})
"""


def system(tmp_path: Path, status: int = 0) -> SystemPaths:
    program = tmp_path / "systemctl"
    program.write_text(SYSTEMCTL.format(python=sys.executable, record=str(tmp_path / "record"), status=status))
    program.chmod(0o755)
    return SystemPaths(
        units=tmp_path / "units",
        sysusers=tmp_path / "writ.conf",
        state=tmp_path / "lib",
        agents=tmp_path / "etc",
        programs=tmp_path / "opt",
        logs=tmp_path / "log",
        systemctl=str(program),
    )


def split_home(tmp_path: Path, of: SystemPaths) -> Home:
    """Files as `writ init --system` makes them, with those of the units."""
    lib = of.state
    for folder in ("private/writ-nats/jetstream/jetstream", "private/writ-policy-1", "private/writ-audit-2", "writ"):
        (lib / folder).mkdir(parents=True)
    for name in ("writ-nats", "writ-policy-1", "writ-audit-2"):
        (lib / name).symlink_to(f"private/{name}")
    (lib / "writ-notes").mkdir()  # somebody else's
    (of.logs / "private/writ-nats").mkdir(parents=True)
    (of.logs / "private/writ-nats/nats.log").touch()
    (of.logs / "writ-nats").symlink_to("private/writ-nats")
    (of.units / "writ.target.wants").mkdir(parents=True)
    (of.units / "writ-nats.service.d").mkdir()
    for name in UNITS:
        (of.units / name).write_text("[Unit]")
    (of.units / "other.service").write_text("[Unit]")
    (of.units / "writ.target.wants/writ-policy@1.service").symlink_to("../writ-policy@.service")
    of.agents.mkdir()
    of.sysusers.write_text("u writ")
    site = Site(
        url="nats://127.0.0.1:4222", listen="127.0.0.1", port=4222, monitor_port=8222,
        store=str(lib / "writ-nats/jetstream"), state=str(lib / "writ"),
    )  # fmt: skip
    home = Home(of.agents, site)
    make_files(home)
    home.site_file.write_bytes(msgspec.json.encode(site))
    for path in (of.agents / "agent-ssh.env", of.agents / "agent-ssh.seed", of.agents / "writ.env", home.written / "x"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return home


@pytest.mark.skipif(os.geteuid() != 0, reason="an installation of the system is root's")
@pytest.mark.parametrize("records", [False, True])
def test_units_are_stopped_and_removed_with_their_folders(tmp_path: Path, records: bool) -> None:
    of = system(tmp_path)
    home = split_home(tmp_path, of)
    plan = uninstall.plan(home, records=records, system=of)
    assert uninstall.remove(home, plan, system=of).left == []
    calls = (tmp_path / "record").read_text().splitlines()
    assert [line.split()[0] for line in calls] == ["stop", "disable", "daemon-reload", "reset-failed"]
    assert calls[1] == "disable writ-policy@1.service"
    assert names(of.units) == {"other.service", "writ.target.wants", "writ-nats.service.d"}
    assert not of.sysusers.exists()
    assert (names(of.logs), names(of.logs / "private")) == ({"private"}, set())
    assert names(of.state) == {"private", "writ-notes", "writ", *(() if records else ("writ-nats",))}
    assert names(of.state / "private") == (set() if records else {"writ-nats"})
    assert names(of.agents) == (set() if records else {"public.yaml", "installation.yaml"})
    assert [one.path for one in plan.keep if one.purpose == "not made by Writ"] == [str(home.written / "x")]
    assert any("writ-nats.service.d" in step for step in plan.by_hand)


@pytest.mark.skipif(os.geteuid() != 0, reason="an installation of the system is root's")
def test_nothing_is_removed_where_systemd_does_not_stop_the_units(tmp_path: Path) -> None:
    of = system(tmp_path, status=1)
    home = split_home(tmp_path, of)
    with pytest.raises(Conflict, match="systemctl stop"):
        uninstall.remove(home, uninstall.plan(home, records=True, system=of), system=of)
    assert home.principals.exists()
    assert (of.units / "writ.target").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="an installation of the system is root's")
@pytest.mark.parametrize("units_left", [True, False])
def test_copy_of_the_systems_installation_is_refused(tmp_path: Path, units_left: bool) -> None:
    of = system(tmp_path)
    live = split_home(tmp_path, of)
    for name in UNITS:
        (of.units / name).write_text(f"[Service]\nEnvironmentFile={live.root}/writ.env\n")
        if not units_left:
            (of.units / name).unlink()
    copy = Home(Path(shutil.copytree(live.root, tmp_path / "etc.bak")))
    for act in (
        lambda: uninstall.plan(copy, records=True, system=of),
        lambda: uninstall.remove(copy, uninstall.plan(live, records=True, system=of), system=of),
    ):
        with pytest.raises(Conflict, match="not the installation of this machine's units"):
            act()
    assert not (tmp_path / "record").exists()
    assert (live.store / "jetstream").exists()
    assert uninstall.plan(live, records=True, system=of).remove


@pytest.mark.skipif(os.geteuid() != 0, reason="an installation of the system is root's")
@pytest.mark.parametrize("name", ["run", "nats"])
def test_folder_that_a_service_replaced_by_a_link_is_refused(tmp_path: Path, name: str) -> None:
    of = system(tmp_path)
    home = split_home(tmp_path, of)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/server.conf").write_text("x")
    (home.written / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Conflict, match="symbolic link"):
        uninstall.plan(home, records=True, system=of)
    assert (tmp_path / "elsewhere/server.conf").exists()

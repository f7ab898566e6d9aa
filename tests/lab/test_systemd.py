# long: one subject, an installation under systemd
"""Writ under systemd, from nothing: hardly any rights, an agent on another host, nothing lost when it is restarted."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.counted_starts import Starts
from tests.lab.docker_agent import DOCKER_AGENT, add_docker_agent, engine_over_tls
from tests.lab.docker_host import BOX, make_box
from tests.lab.hosts import Host, until
from tests.lab.site import OVER_SSH, SECOND, SERVICES, SSH_AGENT, Site, blocks, set_up, typed
from tests.lab.targets import ROOT

from writ_client.client import Writ
from writ_client.context import Context, open_bus
from writ_contracts import subjects
from writ_testing.demo import POLICY, TARGET, first_operation
from writ_testing.installations.installation import open_policy
from writ_testing.installations.trace_comparison import in_the_demo, same_part

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
MCP = (Path(__file__).parents[2] / "docs/mcp.md").read_text()
MCP_CALL = Path(__file__).with_name("mcp_call.py")
BACKUP = (Path(__file__).parents[2] / "docs/operating/backup-and-restore.md").read_text()
EXPOSED = {**dict.fromkeys((*SERVICES, SSH_AGENT, "writ-gateway"), 15), "writ-agent-local@x": 65}
"""How exposed systemd-analyze may find each, in tenths of 10."""


@pytest.fixture(scope="module")
def site(site_hosts: tuple[Host, Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(*site_hosts)
    try:
        set_up(made, tmp_path_factory.mktemp("site"))
        yield made
    finally:
        for host in site_hosts:
            print(host.attempt("journalctl", "--no-pager", "--lines=300", "--unit=writ-*")[1])


def test_agent_enrolled_over_the_network_works_at_once(site: Site) -> None:
    before = site.far.show("nginx", "InvocationID")
    done = site.run("service_restart", "service_name=nginx", target=TARGET)
    assert done["outcome"] == "succeeded"
    assert site.far.show("nginx", "InvocationID") != before


@pytest.mark.parametrize("unit", EXPOSED)
def test_systemd_finds_it_hardly_exposed(site: Site, unit: str) -> None:
    command = ("systemd-analyze", "security", "--no-pager", f"--threshold={EXPOSED[unit]}", unit)
    code, said, errors = site.control.attempt(*command)
    assert code == 0, [*said.strip().splitlines()[-1:], errors]


@pytest.mark.parametrize("unit", [*SERVICES, SSH_AGENT])
def test_service_has_no_rights_and_writes_only_its_own_folder(site: Site, unit: str) -> None:
    pid = site.control.show(unit, "MainPID")
    status = dict(line.split(":\t", 1) for line in site.control.run("cat", f"/proc/{pid}/status").splitlines())
    assert "0" not in status["Uid"].split()
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    own = {"writ-keeper": "/var/lib/writ", "writ-nats": "/var/lib/writ-nats", "writ-audit@1": "/var/lib/writ-audit-1"}
    for folder in ("/etc/writ", "/etc/writ-ssh", "/var/lib/writ", "/var/lib", "/opt/writ", "/usr/lib", "/var/log"):
        inside = ("nsenter", "--target", pid, "--mount", "touch", f"{folder}/.try")  # as root: the mount alone decides
        code = site.control.attempt(*inside)[0]
        assert (code == 0) == (folder == own.get(unit)), folder
    site.control.attempt("rm", "-f", "/var/lib/writ/.try")


def test_an_agent_over_ssh_goes_to_its_host_and_reads_its_own_keys_and_nothing_of_the_services(site: Site) -> None:
    done = site.run("service_status", "service_name=nginx", target=OVER_SSH)
    assert done["outcome"] == "succeeded"

    def reads(user: str, path: str) -> bool:
        return site.control.attempt("runuser", "-u", user, "--", "cat", path)[0] == 0

    assert reads("writ-agent-ssh", f"/etc/writ-ssh/{OVER_SSH}")
    assert not reads("writ-agent-ssh", "/etc/writ/inventory.yaml")
    assert reads("writ", "/etc/writ/inventory.yaml")
    assert not reads("writ", f"/etc/writ-ssh/{OVER_SSH}")


def test_documented_backup_of_the_units_restores_the_whole_installation(site: Site) -> None:
    copy, back = (block for block in blocks(BACKUP) if any("/root/writ-copy.tgz" in line for line in block))
    done = site.run("network_status", target=TARGET)
    site.json("agent", "token", site.pool)
    stop, *rest = copy
    site.control.run(*typed(stop), timeout=120.0)
    assert {state for state, _ in site.states().values()} == {"inactive"}
    for line in rest:
        site.control.run(*typed(line), timeout=120.0)
    assert site.control.run("stat", "--format=%a %U", "/root/writ-copy.tgz") == "600 root"
    site.control.run(*typed(stop), timeout=120.0)
    gone = "/etc/writ /etc/writ-ssh /var/lib/writ /var/lib/writ-nats /var/lib/writ-audit-* /var/lib/private/writ-*"
    site.control.run("bash", "-c", f"rm -r {gone}")
    for line in back:
        site.control.run(*typed(line), timeout=120.0)
    assert {event["kind"] for event in site.json("trace", done["operation_id"])["events"]} >= {"requested", "finished"}
    for target in (TARGET, OVER_SSH):
        until(lambda target=target: works(site, target), 60.0, f"an operation on {target} succeeds")  # type: ignore[misc]
    assert site.control.run("ls", "/etc/writ/tokens") == ""


def works(site: Site, target: str) -> bool:
    """Return true if a request to the target succeeds now."""
    code, said, _ = site.call("run", "network_status", "--target", target, "-o", "json")
    return code == 0 and json.loads(said)["outcome"] == "succeeded"


def test_no_secret_is_in_a_command_line_an_environment_or_a_log(site: Site) -> None:
    secrets = site.control.run("bash", "-c", "cat /etc/writ/keys/*.seed /etc/writ/keys/params.key").split()
    secrets.append(site.far.run("cat", f"/etc/writ/agent-{site.pool}.seed"))
    secrets.append(site.control.run("cat", "/etc/writ/agent-ssh.seed"))
    assert len(secrets) >= 9
    for host in (site.control, site.far):
        shown = host.run("bash", "-c", "cat /proc/*/cmdline /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; true")
        assert "writ_" in shown
        logs = host.run("journalctl", "--no-pager", "--output=cat")
        assert not any(secret in text for secret in secrets for text in (shown, logs))


def test_the_first_operation_has_the_trace_that_it_has_in_the_demo_and_counts_by_its_policy(
    site: Site, tmp_path: Path
) -> None:
    path = f"{ROOT}/same"
    site.far.write(path, "old words\n")
    before = site.control.run("cat", "/etc/writ/policy.yaml")
    site.control.run("cp", "/dev/stdin", "/etc/writ/policy.yaml", stdin=POLICY)
    try:
        done = site.json(*first_operation(path))
    finally:
        site.control.run("cp", "/dev/stdin", "/etc/writ/policy.yaml", stdin=before)
    assert site.far.run("cat", path) == "new words"
    theirs = same_part(site.json("trace", done["operation_id"]), {ROOT: "FOLDER", site.far.name: "HOST"})
    assert list(differences(theirs, asyncio.run(in_the_demo(tmp_path)), "")) == []


def differences(one: object, other: object, at: str) -> Iterator[str]:
    """Yield the differing paths and their content on each side."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for name in one:
            yield from differences(one[name], other[name], f"{at}.{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from differences(mine, theirs, f"{at}[{number}]")
    elif one != other:
        yield f"{at}: {one!r} and {other!r}"


def test_added_principal_has_access_at_once(site: Site) -> None:
    assert site.json("principal", "add", "alice", "--role", "operator")["admitted"] is True
    done = site.run("network_status", "--as", "alice", target=TARGET)
    assert (done["principal"], done["outcome"]) == ("alice", "succeeded")


def test_an_mcp_client_calls_a_tool_through_the_gateways_unit(site: Site) -> None:
    agent = ("principal", "add", "bot", "--kind", "agent", "--acts-for", "operator", "--role", "operator")
    site.json(*agent, "--via", "gateway")
    token = site.json("token", "create", "bot")["token"]
    install, start = next(block for block in blocks(MCP) if any("writ-gateway" in line for line in block))
    site.control.run(*typed(install), timeout=120.0)
    site.control.run(*typed(start), timeout=100.0)
    try:
        call = ("/opt/writ/bin/python", "-", "http://127.0.0.1:8321/mcp", token, TARGET, "network_status")
        said = json.loads(site.control.run(*call, stdin=MCP_CALL.read_text()))
        assert "request_operation" in said["tools"]
        assert (said["result"]["status"], said["result"]["requested_by"]) == ("succeeded", "bot")
        pid = site.control.show("writ-gateway", "MainPID")
        assert "NoNewPrivs:\t1" in site.control.run("cat", f"/proc/{pid}/status")
    finally:
        site.control.run("systemctl", "disable", "--now", "writ-gateway", timeout=100.0)


async def test_refusal_by_nats_is_recorded_also_while_audit_is_down(site: Site) -> None:
    def events() -> int:
        script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9491/metrics').read().decode())"
        _, text, _ = site.control.attempt("/opt/writ/bin/python", "-c", script)
        name = 'writ_security_events_total{kind="permission_violation"} '
        return next((int(float(line.removeprefix(name))) for line in text.splitlines() if line.startswith(name)), 0)

    async def forge() -> None:
        about = Context(principal="operator", url=site.url, installation=site.installation(), tls_ca=site.ca())
        bus = await open_bus(about, site.operator_seed(), wait=10.0)
        try:
            await bus.publish(subjects.request("somebody", "service_restart"), b"{}")
        finally:
            await bus.drain(5.0)

    before = events()
    await forge()
    until(lambda: events() > before, 30.0, "the event is recorded")
    site.control.run("systemctl", "stop", "writ-audit@1", timeout=100.0)
    await forge()
    site.control.run("systemctl", "start", "writ-audit@1", timeout=100.0)
    until(lambda: events() == 1, 30.0, "the event of before its start is recorded")
    assert "what NATS refuses is not recorded" not in site.call("status")[1]
    log = "/var/log/writ-nats/nats.log"
    assert site.control.attempt("runuser", "-u", "writ", "--", "cat", log)[0] != 0
    site.control.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "writ-nats")
    journal = ("journalctl", "--no-pager", "--output=cat", "--unit=writ-nats")
    until(
        lambda: "Publish Violation" in site.control.run(*journal), 30.0, "the end of the log is in the unit's journal"
    )
    until(lambda: works(site, TARGET), 60.0, "an operation succeeds")


def test_a_token_enrols_one_key_once(site: Site) -> None:
    made = site.json("agent", "token", site.pool)
    folder = "/etc/writ-again"
    enrolling = ("/opt/writ/bin/writ-enrol", "--to", folder)
    site.far.run(*enrolling, stdin=made["token"])
    code, _, errors = site.far.attempt("/opt/writ/bin/writ-enrol", "--to", f"{folder}-2", stdin=made["token"])
    assert (code, "it was used, has expired or was revoked" in errors) == (1, True), errors
    code, _, errors = site.far.attempt(*enrolling, stdin=site.json("agent", "token", site.pool)["token"])
    assert (code, "it is this host's key" in errors) == (1, True), errors
    assert site.far.run("find", "/etc/writ", folder, "-perm", "/077", "-type", "f") == ""


def test_an_installation_is_not_made_again_nor_started_twice(site: Site) -> None:
    assert site.call("init", "--system")[0] == 2
    code, _, errors = site.call("up")
    assert (code, "writ.target" in errors) == (2, True)
    assert "systemctl status" in site.call("restart")[2]


def test_status_reports_every_started_unit(site: Site) -> None:
    def ready() -> dict[str, Any] | None:
        told = site.call("status", "-o", "json")[1]
        view: dict[str, Any] = json.loads(told) if told else {}
        return view if view.get("ready") else None

    seen = until(ready, 60.0, "all say in time that they are ready")
    assert seen["journal"] is not None
    assert {"keeper", "policy@1", "executor@1", "audit@1"} <= {one["name"] for one in seen["processes"]}


def test_journal_knows_the_unit_and_the_level_of_each_line(site: Site) -> None:
    rows = site.control.run("journalctl", "--no-pager", "--output=json", "--identifier=writ-executor").splitlines()
    lines = [(one, json.loads(one["MESSAGE"])) for row in rows if (one := json.loads(row))["MESSAGE"].startswith("{")]
    assert lines
    priorities = {"debug": "7", "info": "6", "warning": "4", "error": "3"}
    assert {(one["PRIORITY"], line["service"]) for one, line in lines} == {
        (priorities[line["level"]], "executor") for _, line in lines
    }


def test_killed_process_is_started_again_and_work_continues(site: Site) -> None:
    for host, unit in [*((site.control, one) for one in SERVICES), (site.far, site.agent)]:
        before = host.show(unit, "MainPID")
        host.run("systemctl", "kill", "--signal=KILL", unit)

        def again(host: Host = host, unit: str = unit, before: str = before) -> bool:
            return host.show(unit, "ActiveState") == "active" and host.show(unit, "MainPID") not in ("0", before)

        until(again, 60.0, f"{unit} is started again")

    until(lambda: works(site, TARGET), 60.0, "an operation succeeds")


async def test_everything_is_restarted_under_load_and_nothing_fails(site: Site) -> None:
    before = site.states()
    connection = Writ.connect(
        site.url,
        seed=site.operator_seed(),
        principal="operator",
        installation=site.installation(),
        tls_ca=site.ca(),
        wait=10,
    )
    async with await connection as writ:
        async with Starts(site).going_on(writ) as ran:
            for unit in SERVICES:  # one of each: nobody stands in for it
                await asyncio.to_thread(site.control.run, "systemctl", "restart", unit, timeout=100.0)
                await ran.more()
            await asyncio.to_thread(site.far.run, "systemctl", "restart", site.agent, timeout=100.0)
            await ran.more()
            for unit in SECOND:  # and two
                await asyncio.to_thread(site.control.run, "systemctl", "enable", "--now", unit, timeout=100.0)
            for unit in (*SERVICES, *SECOND):
                await asyncio.to_thread(site.control.run, "systemctl", "restart", unit, timeout=100.0)
                await ran.more()
        await ran.check(writ)
    after = site.states()
    assert {state for state, _ in after.values()} == {"active"}
    assert not set(before.values()) & set(after.values())


def test_agent_without_an_entry_in_agents_yaml_loses_access(site: Site) -> None:
    made = enrol_elsewhere(site)
    listed = site.json("agent", "list")
    kept = [one for one in listed["agents"] if one["key"] != made]
    assert len(kept) == len(listed["agents"]) - 1
    text = json.dumps({"agents": kept})
    site.control.run("cp", "/dev/stdin", "/var/lib/writ/agents.yaml", stdin=text)
    assert site.run("network_status", target=TARGET)["outcome"] == "succeeded"


def enrol_elsewhere(site: Site) -> str:
    """Enrol another key of the pool, in a folder outside every unit."""
    token = site.json("agent", "token", site.pool)["token"]
    said = site.far.run("/opt/writ/bin/writ-enrol", "--to", "/etc/writ-other", stdin=token)
    return next(line.removeprefix("public key: ") for line in said.splitlines() if line.startswith("public key: "))


def test_docker_agent_enrols_and_creates_a_container(site: Site, tmp_path: Path) -> None:
    before = site.control.run("cat", "/etc/writ/policy.yaml")
    site.control.run("cp", "/dev/stdin", "/etc/writ/policy.yaml", stdin=open_policy())
    try:
        with engine_over_tls(tmp_path) as (engine, authority):
            make_box(engine)
            add_docker_agent(site, authority, engine.network.address)
            tested = site.json("target", "test", "box")
            assert "disk" in tested[0]["visit"]["versions"], tested
            made = site.run("container_create", "container_name=web", f"image={BOX}", target="box")
            assert made["outcome"] == "succeeded", made
            assert engine.inspect("web")[0]["State"]["Running"] is True
            pid = site.control.show(DOCKER_AGENT, "MainPID")
            assert "\nCapEff:\t0000000000000000\n" in site.control.run("cat", f"/proc/{pid}/status")
    finally:
        site.call("target", "remove", "box")
        site.control.run("cp", "/dev/stdin", "/etc/writ/policy.yaml", stdin=before)
        site.control.attempt("systemctl", "disable", "--now", DOCKER_AGENT)


def test_uninstall_removes_all_that_was_installed_but_the_record(site: Site) -> None:
    """The last one of this module: nothing of the site is there afterwards."""
    refused = site.call("uninstall", "--yes")
    assert (refused[0], "target remove" in refused[2]) == (2, True)
    code, said, error = site.call("uninstall", "--yes", "--leave-hosts")
    assert code == 0, error
    units = site.control.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "writ*")
    assert units == ""
    assert site.control.run("find", "/etc/systemd/system", "-name", "writ*") == ""
    assert "stays: /var/lib/writ-nats/jetstream/jetstream" in said
    assert site.control.attempt("test", "-e", "/etc/writ/keys")[0] == 1
    for folder in ("/etc/writ-ssh", "/var/lib/writ", "/var/lib/writ-policy-1", "/var/lib/private/writ-audit-1"):
        assert site.control.attempt("test", "-e", folder)[0] == 1, folder
    assert site.control.attempt("test", "-d", "/var/lib/writ-nats/jetstream/jetstream")[0] == 0

"""docker-compose.yml on a real engine, typed as deploy/README.md has it."""

import json
import re
import secrets
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from tests.lab.compose.composed import REPOSITORY, UID, Composed
from tests.lab.compose.conftest import SANDBOX
from tests.lab.compose.readme import blocks
from tests.lab.hosts import Host, until, user_key
from tests.lab.mcp_call import called

from writ_client.context import Context, open_bus
from writ_contracts import subjects
from writ_testing.demo import POLICY, TARGET, first_operation
from writ_testing.installations.trace_comparison import in_the_demo, same_part

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


def query_prometheus(composed: Composed, path: str) -> Any:
    """Return Prometheus' answer; None while it does not answer."""
    try:
        with urlopen(f"http://127.0.0.1:{composed.ports['PROMETHEUS']}/api/v1/{path}", timeout=5) as answer:
            return json.load(answer)["data"]
    except OSError:
        return None


def up(composed: Composed, service: str) -> int:
    """Return how many processes of the service Prometheus reaches."""
    seen = query_prometheus(composed, "targets?state=active") or {"activeTargets": []}
    return sum(one["labels"]["service"] == service and one["health"] == "up" for one in seen["activeTargets"])


def alertmanagers(composed: Composed) -> int:
    """Return how many Alertmanagers Prometheus uses."""
    seen = query_prometheus(composed, "alertmanagers") or {"activeAlertmanagers": []}
    return len(seen["activeAlertmanagers"])


def links_of_alerts(composed: Composed) -> set[str]:
    """Return the links of the present alerts to their runbooks."""
    return {one["annotations"]["runbook_url"] for one in (query_prometheus(composed, "alerts") or {}).get("alerts", ())}


def agents(composed: Composed, target: str) -> int:
    """Return how many agents serve it."""
    return next(int(one["agents"]) for one in composed.writ("target", "list") if one["id"] == target)


def test_the_first_lines_of_the_text_carry_out_an_operation(composed: Composed) -> None:
    assert composed.shown[-1].startswith("succeeded")
    motd = composed.folder / "writ-sandbox" / "motd"
    assert (motd.read_text(), motd.stat().st_uid) == ("hello", UID)


async def test_the_first_operation_has_the_trace_that_it_has_in_the_demo(composed: Composed, tmp_path: Path) -> None:
    path = composed.folder / "writ-sandbox" / "same"
    path.write_text("old words\n")
    shutil.chown(path, UID, UID)
    path.chmod(0o644)
    done = composed.writ(*first_operation(f"{SANDBOX}/same"))
    assert path.read_text() == "new words"
    trace = composed.writ("trace", done["operation_id"])
    theirs = same_part(trace, {SANDBOX: "FOLDER", "sandbox": "HOST"})
    ours = await in_the_demo(tmp_path)
    assert [event["kind"] for event in ours] == ["requested", "lock_taken", "dispatched", "granted", "finished"]
    assert theirs == ours


def test_the_hosts_of_the_lab_reach_each_other_beside_the_engine(
    composed: Composed, site_hosts: tuple[Host, Host]
) -> None:
    one, other = site_hosts
    assert one.run("bash", "-c", f"exec 3<>/dev/tcp/{other.address}/22 && echo through", timeout=20.0) == "through"


def test_the_status_of_all_containers_is_reported(composed: Composed) -> None:
    def ready() -> dict[str, Any] | None:
        told = composed.type("docker compose run --rm -T writ status -o json || true")
        view: dict[str, Any] = json.loads(told) if told else {}
        return view if view.get("ready") else None

    seen = until(ready, 60.0, "all say in time that they are ready")
    assert seen["journal"] is not None
    names = {one["name"].split()[0] for one in seen["processes"]}
    assert names == {"keeper", "policy", "executor", "audit", "agent-local", "agent-ssh", "agent-proxmox"}


def test_edited_files_and_added_principals_count_at_once(composed: Composed) -> None:
    forbidden = POLICY.replace("operations: [file_delete]", "operations: [file_delete, file_read]")
    wanted = ("run", "file_read", "-t", TARGET, f"file_path={SANDBOX}/motd")
    name = f"bob-{secrets.token_hex(4)}"
    composed.home.policy.write_text(forbidden)
    try:
        assert composed.writ(*wanted, status=3)["outcome"] == "denied"
    finally:
        composed.home.policy.write_text(POLICY)
    assert composed.writ("principal", "add", name, "--role", "operator")["admitted"] is True
    assert composed.writ(*wanted, "--as", name)["outcome"] == "succeeded"


async def test_four_ssh_agents_share_the_work_on_a_host_and_prometheus_finds_them(
    composed: Composed, far_host: Host
) -> None:
    with far_host.held():
        key = composed.home.ssh / "far"
        shutil.copy(user_key(), key)
        shutil.chown(key, UID, UID)
        here = ("--ssh", f"root@{far_host.address}", "--role", "development", "--host-key", far_host.host_key)
        composed.writ("target", "add", "far", *here)
        composed.up(agent_ssh=4)
        assert len(composed.containers("agent-ssh")) == 4
        until(lambda: agents(composed, "far") == 4, 30.0, "four agents are heard of")
        instances = set()
        async with await composed.client() as writ:
            for _ in range(24):
                done = await writ.run("service_status", "far", {"service_name": "nginx"}, timeout=60.0)
                assert (done.outcome, done.message) == ("succeeded", "")
                events = (await writ.trace(operation_id=done.operation_id)).events
                instances |= {event.body["instance"] for event in events if event.kind == "granted"}
        assert len(instances) > 1
        until(lambda: up(composed, "agent-ssh") == 4, 60.0, "Prometheus reaches all four")
        composed.up(agent_ssh=1)
        until(lambda: up(composed, "agent-ssh") == 1, 60.0, "Prometheus forgets those that are gone")


def test_prometheus_sees_every_service_and_has_the_rules_and_alertmanager(composed: Composed) -> None:
    for service in ("keeper", "policy", "executor", "audit", "agent-local", "agent-ssh", "agent-proxmox"):
        until(lambda service=service: up(composed, service) > 0, 60.0, f"Prometheus reaches {service}")  # type: ignore[misc]
    rules = until(lambda: query_prometheus(composed, "rules"), 30.0, "Prometheus has its rules")["groups"][0]["rules"]
    wanted = re.findall(r"alert: (\w+)", (REPOSITORY / "deploy" / "prometheus" / "rules.yaml").read_text())
    assert [rule["name"] for rule in rules] == wanted
    until(lambda: alertmanagers(composed) == 1, 60.0, "Prometheus has found Alertmanager")


async def test_refusal_by_nats_is_a_security_event(composed: Composed) -> None:
    home = composed.home
    about = Context(
        principal="operator",
        url=f"nats://127.0.0.1:{composed.ports['NATS']}",
        installation=home.installation,
        tls_ca=str(home.ca_file),
    )
    bus = await open_bus(about, home.seed_file("principal-operator").read_bytes(), wait=10.0)
    try:
        await bus.publish(subjects.request("somebody", "service_restart"), b"{}")
    finally:
        await bus.drain(5.0)
    query = quote('writ_security_events_total{kind="permission_violation",service="audit"} > 0')
    until(
        lambda: (query_prometheus(composed, f"query?query={query}") or {}).get("result"), 90.0, "the event is recorded"
    )
    log = composed.type("docker compose exec -T nats tail -n 50 /var/log/nats/nats.log")
    assert "Publish Violation" in log
    page = f"http://127.0.0.1:{composed.ports['PROMETHEUS']}/consoles/runbooks.html"
    until(lambda: f"{page}#writsecurityviolation" in links_of_alerts(composed), 60.0, "the alert has its link")
    with urlopen(page, timeout=10) as reply:
        assert b'<h2 id="writsecurityviolation">' in reply.read()


async def test_an_mcp_client_calls_a_tool_through_the_gateways_container(composed: Composed) -> None:
    agent = ("principal", "add", "bot", "--kind", "agent", "--acts-for", "operator", "--role", "operator")
    composed.writ(*agent, "--via", "gateway")
    token = composed.writ("token", "create", "bot")["token"]
    composed.type("docker compose --profile mcp up --build --detach --wait gateway")
    try:
        motd = json.dumps({"file_path": f"{SANDBOX}/motd"})
        said = await called(f"http://127.0.0.1:{composed.ports['MCP']}/mcp", token, TARGET, "file_read", motd)
    finally:
        composed.type("docker compose --profile mcp rm --stop --force gateway")
    assert "request_operation" in said["tools"]
    assert (said["result"]["status"], said["result"]["requested_by"]) == ("succeeded", "bot"), said["result"]
    assert said["result"]["output"]["content"] == "hello"


def test_copy_that_is_restored_as_the_page_says_is_ready_and_lacks_later_requests(composed: Composed) -> None:
    copied, restored = blocks("Back up and restore")
    written = ("run", "file_write", "-t", "sandbox", "content=x", "--reason", "to compare")
    before = composed.writ(*written, f"file_path={SANDBOX}/before")
    for line in copied:
        composed.type(line)
    until(lambda: composed.type("docker compose run --rm -T writ status || true"), 60.0, "it answers")
    after = composed.writ(*written, f"file_path={SANDBOX}/after")
    for line in restored:
        composed.type(line)
    assert composed.writ("trace", before["operation_id"])["events"]
    assert composed.writ("trace", after["operation_id"], status=2)["error"]["code"] == "not_found"
    assert composed.writ(*written, f"file_path={SANDBOX}/again")["outcome"] == "succeeded"

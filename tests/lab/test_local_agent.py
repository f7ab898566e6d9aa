"""The local agent on a real host: from the built wheels, under systemd, asked over NATS from outside."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.lab.hosts import Host, until
from tests.lab.installation import AGENT, ROOT, Writ, agents

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

README = Path(__file__).parents[2] / "README.md"
OUTCOMES = {"finished", "unknown", "refused"}


def outcomes(kinds: list[str]) -> list[str]:
    """The events that are an outcome; one operation has one of them."""
    return [kind for kind in kinds if kind in OUTCOMES]


def test_a_restart_asked_for_with_writ_restarts_nginx_and_its_trace_reads_back(writ: Writ, host: Host) -> None:
    before = host.show("nginx", "InvocationID")
    done = writ.run("service_restart", "service_name=nginx")
    assert done["outcome"] == "succeeded"
    after = host.show("nginx", "InvocationID")
    assert before != after == done["output"]["invocation_id"]

    events = {event["kind"]: event["body"] for event in writ.trace(done["operation_id"])}
    assert list(events) == ["requested", "lock_taken", "dispatched", "started", "finished"]
    claim, grant = events["started"]["claim"]["payload"], events["started"]["grant"]["payload"]
    assert claim["baseline"]["invocation_id"] == before
    assert grant["operation"] == "service_restart"
    assert events["finished"]["receipt"]["payload"]["state"]["invocation_id"] == after


def test_the_bare_script_of_the_readme_does_the_same(writ: Writ, host: Host, tmp_path: Path) -> None:
    (script,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert "import writ" not in script
    assert "from writ" not in script
    (tmp_path / "bare.py").write_text(script)
    context = writ.json("context", "operator")
    before = host.show("nginx", "InvocationID")
    command = [sys.executable, "-P", "bare.py", context["url"], context["key_file"], context["principal"]]
    done = subprocess.run(
        [*command, "service_restart", host.name, "service_name=nginx"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "finished succeeded" in done.stdout
    assert host.show("nginx", "InvocationID") != before


def test_a_service_is_stopped_looked_at_and_started(writ: Writ, host: Host) -> None:
    assert writ.run("service_stop", "service_name=nginx")["outcome"] == "succeeded"
    assert host.show("nginx", "ActiveState") == "inactive"
    assert writ.run("service_status", "service_name=nginx")["output"]["active_state"] == "inactive"
    assert writ.run("service_start", "service_name=nginx")["outcome"] == "succeeded"
    assert host.show("nginx", "ActiveState") == "active"


def test_a_unit_that_does_not_exist_fails_with_a_code_that_says_so(writ: Writ, host: Host) -> None:
    done = writ.run("service_restart", "service_name=no-such-unit", status=1)
    assert (done["outcome"], done["code"]) == ("failed", "unit_not_found")


def test_a_preview_says_what_would_be_done_and_does_nothing(writ: Writ, host: Host) -> None:
    before = host.show("nginx", "InvocationID")
    done = writ.run("service_restart", "service_name=nginx", "--dry-run")
    assert (done["outcome"], done["output"]["would"]) == ("previewed", "restart")
    assert host.show("nginx", "InvocationID") == before


def test_a_file_is_written_read_and_deleted_beneath_a_root(writ: Writ, host: Host) -> None:
    path, text = f"{ROOT}/app.conf", "listen = 8080\n"
    host.run("mkdir", "-p", ROOT)
    written = writ.run("file_write", f"file_path={path}", f"content={text}")
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert (written["outcome"], written["output"]["digest_after"]) == ("succeeded", digest)
    assert host.run("sha256sum", path).split()[0] == digest
    assert writ.run("file_read", f"file_path={path}")["output"]["content"] == text
    assert writ.run("file_delete", f"file_path={path}")["outcome"] == "succeeded"
    assert host.attempt("test", "-e", path)[0] == 1


@pytest.mark.parametrize("path", ["/etc/shadow", f"{ROOT}/../../etc/shadow", f"{ROOT}/link"])
def test_a_file_outside_the_roots_is_refused(writ: Writ, host: Host, path: str) -> None:
    host.run("mkdir", "-p", ROOT)
    host.run("ln", "-sfn", "/etc/shadow", f"{ROOT}/link")
    code, output, _ = writ.call("run", "file_read", "--target", "host1", f"file_path={path}", "-o", "json")
    assert code in (1, 2)
    assert "root:" not in output


def test_the_network_is_that_of_the_host(writ: Writ, host: Host) -> None:
    output = writ.run("network_status")["output"]
    addresses = [one["address"] for interface in output["interfaces"] for one in interface["addresses"]]
    assert f"{host.address}/24" in addresses
    assert {"tcp"} <= {one["protocol"] for one in output["listening"] if one["port"] == 80}


def test_a_restart_that_systemd_cannot_take_back_ends_unknown_and_is_settled_when_it_is_seen(
    writ: Writ, host: Host, slow: str
) -> None:
    number = writ.begin("service_restart", f"service_name={slow}")
    until(lambda: host.show(slow, "ActiveState") == "activating", 20.0, "the restart is under way")
    writ.call("op", "cancel", number, "--reason", "a test")
    done = writ.ended(number, 30.0)
    assert (done["outcome"], done["code"]) == ("unknown", "cancelled")  # its job is gone, but the unit goes on
    assert host.run("systemctl", "list-jobs", "--plain", "--no-legend") == ""
    settled(writ, number)


def test_an_agent_killed_in_the_middle_comes_back_and_the_operation_has_one_outcome(
    writ: Writ, host: Host, slow: str
) -> None:
    starts = host.run("cat", "/srv/slow-starts")
    number = writ.begin("service_restart", f"service_name={slow}")
    until(lambda: host.show(slow, "ActiveState") == "activating", 20.0, "the restart is under way")
    instance = host.show(AGENT, "MainPID")
    host.run("systemctl", "kill", "--signal=KILL", AGENT)
    until(lambda: host.show(AGENT, "MainPID") not in ("0", instance), 20.0, "systemd starts the agent again")
    done = writ.ended(number, 60.0)
    assert (done["outcome"], done["code"]) == ("unknown", "agent_restarted")
    settled(writ, number)
    assert host.run("cat", "/srv/slow-starts").splitlines() == [*starts.splitlines(), "started"]


def settled(writ: Writ, number: str) -> None:
    """What was unknown is found out once the unit has started: by a probe, and there is nothing else on record."""
    until(lambda: "resolved" in writ.kinds(number), 40.0, "a probe settles it")
    kinds = writ.kinds(number)
    assert (kinds.count("started"), outcomes(kinds), kinds[-1]) == (1, ["unknown"], "resolved")
    view = json.loads(writ.call("op", "get", number, "-o", "json")[1])
    assert view["outcome"] == "succeeded"


@pytest.mark.parametrize("how", ["reboot", "power cut"])
def test_a_host_that_goes_down_in_the_middle_leaves_an_outcome(writ: Writ, host: Host, slow: str, how: str) -> None:
    number = writ.begin("service_restart", f"service_name={slow}")
    until(lambda: host.show(slow, "ActiveState") == "activating", 20.0, "the restart is under way")
    before = host.boot_id()
    if how == "reboot":
        host.run("systemctl", "reboot")
    else:
        host.reset()
    until(lambda: host.boot_id() not in ("", before), 60.0, "the host boots again")
    host.wait()
    done = writ.ended(number, 90.0)
    assert done["outcome"] != "succeeded"
    assert len(outcomes(writ.kinds(number))) == 1
    until(lambda: agents(writ, host) == 1, 60.0, "its agent is back, and the one before is forgotten")
    assert writ.run("service_restart", "service_name=nginx")["outcome"] == "succeeded"

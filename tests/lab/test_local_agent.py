"""The local agent on a real host: from the built wheels, under systemd, with requests over NATS from outside."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.lab.host_requests import begun, let_go, only, settled
from tests.lab.hosts import Host, until
from tests.lab.installation import AGENT, Writ
from tests.lab.repository import Repository

from writ_installation.files.home import Home

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300), only("local")]

DOCUMENT = Path(__file__).parents[2] / "docs/bare-client.md"


def test_documented_bare_client_works_with_the_local_agent(writ: Writ, host: Host, tmp_path: Path) -> None:
    (script,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert "import writ" not in script
    assert "from writ" not in script
    (tmp_path / "bare.py").write_text(script)
    context = writ.json("context", "operator")
    before = host.show("nginx", "InvocationID")
    command = [sys.executable, "-P", "bare.py", context["url"], context["key_file"], context["principal"]]
    done = subprocess.run(
        [*command, "service_restart", host.name, "service_name=nginx"],
        cwd=tmp_path,
        env={**os.environ, "SSL_CERT_FILE": str(Home(writ.home).ca_file)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "finished succeeded" in done.stdout
    assert host.show("nginx", "InvocationID") != before


def test_an_agent_killed_in_the_middle_comes_back_and_the_operation_has_one_outcome(
    writ: Writ, host: Host, slow: str
) -> None:
    starts = host.run("cat", "/srv/slow-starts")
    number = begun(writ, host, slow)
    instance = host.show(AGENT, "MainPID")
    host.run("systemctl", "kill", "--signal=KILL", AGENT)
    until(lambda: host.show(AGENT, "MainPID") not in ("0", instance), 20.0, "systemd starts the agent again")
    done = writ.ended(number, 60.0)
    assert (done["outcome"], done["code"]) == ("unknown", "agent_restarted")
    let_go(host)
    settled(writ, number)
    assert host.run("cat", "/srv/slow-starts").splitlines() == [*starts.splitlines(), "started"]


def test_package_that_a_killed_agent_left_half_configured_is_never_reported_as_no_effect(
    writ: Writ, host: Host, packages: Repository
) -> None:
    """The second attempt is refused, since dpkg was interrupted, and has no effect of its own."""
    wait = "while [ ! -e /run/halfway-go ]; do sleep 0.1; done"
    packages.publish("halfway", "1.0", postinst=f"echo >/run/halfway; {wait}")
    host.run("apt-get", "-q", "update")
    number = writ.begin("package_install", "package_name=halfway")
    try:
        until(lambda: host.attempt("test", "-e", "/run/halfway")[0] == 0, 30.0, "its script runs")
        host.run("systemctl", "kill", "--signal=KILL", AGENT)
        done = writ.ended(number, 60.0)
        assert (done["outcome"], done["code"]) == ("unknown", "tool_failed")
        assert "dpkg --configure -a" in done["message"]
        host.write("/run/halfway-go", "")
        host.run("dpkg", "--configure", "-a")
        until(lambda: "resolved" in writ.kinds(number), 60.0, "a probe settles it")
        assert writ.json("op", "show", number)["outcome"] == "succeeded"
    finally:
        host.write("/run/halfway-go", "")
        host.run("dpkg", "--purge", "--force-remove-reinstreq", "halfway")

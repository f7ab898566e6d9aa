"""Facts for decisions in a whole installation: a scanner's findings, and listings by the target's own agent."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.decisions import Decision
from writ_contracts.errors import WritError
from writ_contracts.journal import Refused, Requested
from writ_contracts.policy.facts import ScanReport
from writ_contracts.wire import decode_event, encode
from writ_documents import yaml_file
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation
from writ_trust.statements import read

pytestmark = pytest.mark.asyncio(loop_scope="module")
SCANNER = Path(__file__).with_name("example_scanner.py")
POLICY = {
    "policies": {
        "version": "v2",
        "name": "facts",
        "global_policies": [
            {"name": "deploys", "operations": ["test_count"], "allowed": True},
            {
                "name": "nothing critical is deployed over",
                "operations": ["test_count"],
                "allowed": False,
                "scans": [{"scanner": "pins", "severity": "critical", "present": True}],
            },
            {
                "name": "reads what is a root",
                "operations": ["file_read"],
                "allowed": True,
                "parameter_constraints": {"file_path": {"allowlist_source": "list_file_roots"}},
            },
            {
                "name": "removes what is a container",
                "operations": ["file_delete"],
                "allowed": True,
                "parameter_constraints": {"file_path": {"allowlist_source": "list_containers"}},
            },
        ],
    }
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("facts")
    targets = [
        local_target("web-1", folder / "files"),
        local_target("gone-1", folder / "files", agent="nobody-there", connection={"host": "elsewhere"}),
    ]
    pins: tuple[str, dict[str, Any]] = ("pins", {"kind": "service", "roles": ["scanner"]})
    home = prepare(folder, targets=targets, policy=yaml_file.dump(POLICY), principals=[pins])
    async with running_installation(folder, home=home, executors=2) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client() as client:
        yield client


async def scan(installation: RunningInstallation, pinned: str) -> str:
    """Run the example scanner on these pins of web-1; return its output."""
    folder = installation.home.root.parent
    (folder / "requirements.txt").write_text(pinned)
    (folder / "pins.json").write_text((await installation.writ("context", "pins", "-o", "json")).out)
    arguments = (str(SCANNER), str(folder / "pins.json"), "web-1", str(folder / "requirements.txt"))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return out.decode().strip()


async def connected(writ: Writ) -> bool:
    """Return true if its queries are answered again."""
    try:
        return bool(await writ.targets())
    except WritError:
        return False


async def decision(writ: Writ, operation_id: str | None) -> Decision:
    """The first signed one on record."""
    assert operation_id is not None
    events = (await writ.trace(operation_id=operation_id)).events
    event = decode_event(encode(events[0].body))
    assert isinstance(event, Requested | Refused)
    assert event.decision is not None
    return read(event.decision, Decision)


async def test_a_critical_finding_blocks_a_deployment_and_its_fix_lets_it_through(
    installation: RunningInstallation, writ: Writ
) -> None:
    parameters = {"path": str(installation.home.root.parent / "files" / "deployed")}
    unscanned = await writ.run("test_count", "web-1", parameters)
    assert (unscanned.outcome, unscanned.code) == ("denied", "rule_error")

    bad = await scan(installation, "leftpad==1.0\nlint==2.1\n")
    blocked = await writ.run("test_count", "web-1", parameters)
    assert (blocked.outcome, blocked.code) == ("denied", "denied")
    assert "nothing critical is deployed over" in blocked.message
    (fact,) = (await decision(writ, blocked.operation_id)).facts
    assert (fact.kind, fact.source, fact.digest) == ("scan", "pins", bad)

    await scan(installation, "leftpad==1.1\nlint==2.1\n")
    deployed = await writ.run("test_count", "web-1", parameters)
    assert deployed.outcome == "succeeded"


async def test_a_report_by_command_counts_and_survives_restarts_of_policy_and_nats(
    installation: RunningInstallation, writ: Writ
) -> None:
    finding = {"id": "EXAMPLE-3", "severity": "critical", "found_at": 1.0}
    text = json.dumps({"target": "web-1", "findings": [finding]}).encode()
    result = await installation.writ("scan", "report", "-", "--as", "pins", stdin=text)
    assert result.status == 0, result
    for name in ("policy", "nats"):
        await installation.until(name, other_than=installation.kill(name))
    await eventually(lambda: connected(writ), within=60, what="the connection")
    parameters = {"path": str(installation.home.root.parent / "files" / "deployed")}
    blocked = await writ.run("test_count", "web-1", parameters, timeout=60)
    assert (blocked.outcome, blocked.code) == ("denied", "denied")
    wrong = await installation.writ("scan", "report", "-", "--as", "pins", stdin=b'{"target": "web-1", "findings": 1}')
    assert wrong.status == 2


async def test_scan_report_comes_from_its_scanner_alone(installation: RunningInstallation) -> None:
    result = await installation.writ(
        "scan", "report", "-", "--as", "operator", stdin=b'{"target": "web-1", "findings": []}'
    )
    assert result.status == 6, result
    async with await installation.client() as other:
        report = encode(ScanReport(target="web-1", at=1.0))
        with pytest.raises(WritError):
            await other._bus.request(subjects.scan("pins"), report, timeout=5)


async def test_only_listed_names_are_allowed(installation: RunningInstallation, writ: Writ) -> None:
    root = str(installation.home.root.parent / "files")
    listed = await writ.run("file_read", "web-1", {"file_path": root})
    assert listed.outcome == "failed"  # it is a folder, which the host says
    (fact,) = (await decision(writ, listed.operation_id)).facts
    assert (fact.kind, fact.source, fact.failure) == ("listing", "list_file_roots", "")
    assert fact.digest is not None
    beneath = await writ.run("file_read", "web-1", {"file_path": f"{root}/other"})
    assert (beneath.outcome, beneath.code) == ("failed", "not_found")  # allowed, and not there
    other = await writ.run("file_read", "web-1", {"file_path": "/etc/passwd"})
    assert (other.outcome, other.code) == ("denied", "no_rule")
    simulated = await writ.simulate("file_read", "web-1", {"file_path": root})
    assert simulated.verdict is not None
    assert simulated.verdict.decision == "allow"


async def test_failed_listing_differs_from_an_absent_name(installation: RunningInstallation, writ: Writ) -> None:
    root = str(installation.home.root.parent / "files")
    unknown = await writ.run("file_delete", "web-1", {"file_path": root})
    assert (unknown.outcome, unknown.code) == ("denied", "rule_error")
    assert "this agent cannot list containers" in unknown.message
    nobody = await writ.run("file_read", "gone-1", {"file_path": root})
    assert (nobody.outcome, nobody.code) == ("denied", "rule_error")
    assert "no agent of pool nobody-there replied" in nobody.message
    (fact,) = (await decision(writ, nobody.operation_id)).facts
    assert (fact.digest, fact.failure) == (None, "no agent of pool nobody-there replied")

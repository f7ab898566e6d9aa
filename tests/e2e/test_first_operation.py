"""One operation from end to end through real processes, as each party sees it."""

import asyncio
import hashlib
from pathlib import Path

import pytest
from msgspec import json
from tests.e2e.bare_client import SCRIPT, bare_client

from writ_client.client import Writ
from writ_contracts.agents import Claim, Receipt
from writ_contracts.decisions import Decision, Grant
from writ_contracts.errors import Invalid
from writ_contracts.history.audit import SearchQuery
from writ_contracts.inventory import AgentKey
from writ_contracts.requests import OperationView
from writ_contracts.signing import Signed
from writ_documents.readers import read_agents
from writ_installation.files.home import host_token
from writ_testing import search
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation
from writ_testing.search import containing
from writ_trust.statements import digest, open_signed

pytestmark = pytest.mark.asyncio(loop_scope="module")
CANARY = "canary-5f0c2e"


async def write(writ: Writ, path: Path, content: str, **more: object) -> OperationView:
    return await writ.run("file_write", "web-1", {"file_path": str(path), "content": content, **more}, timeout=30)


async def test_a_file_is_written_and_the_trace_shows_all_of_it(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    path = files / "a"
    path.write_text("before")
    done = await write(writ, path, "after")
    assert (done.outcome, path.read_text()) == ("succeeded", "after")
    trace = await writ.trace(operation_id=done.operation_id)
    assert [event.kind for event in trace.events] == ["requested", "lock_taken", "dispatched", "granted", "finished"]
    output = trace.events[-1].body["output"]
    assert output["digest_before"] != output["digest_after"]
    text = json.encode(trace).decode()
    assert hashlib.sha256(b"before").hexdigest() not in text  # keyed: a short secret could be guessed from it
    assert hashlib.sha256(b"after").hexdigest() not in text


async def test_the_signatures_of_a_trace_hold_and_name_each_other(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    done = await write(writ, files / "b", "x")
    bodies = {event.kind: event.body for event in (await writ.trace(operation_id=done.operation_id)).events}
    policy = {installation.home.key("policy").public}
    agents = {one.key for one in _agents(installation)}

    home = installation.home.installation

    def signed(kind: str, name: str) -> Signed:
        return json.decode(json.encode(bodies[kind][name]), type=Signed)

    decision = open_signed(signed("requested", "decision"), Decision, policy, home)
    claim = open_signed(signed("granted", "claim"), Claim, agents, home)
    grant = open_signed(signed("granted", "grant"), Grant, policy, home)
    receipt = open_signed(signed("finished", "receipt"), Receipt, agents, home)
    assert decision.authenticated == "signature"
    assert decision.statement_digest == digest(signed("requested", "statement"))
    assert claim.decision_digest == digest(signed("requested", "decision"))
    assert grant.claim_digest == digest(signed("granted", "claim"))
    assert grant.decision_digest == digest(signed("granted", "decision"))
    assert receipt.grant_digest == digest(signed("granted", "grant"))
    assert (grant.nonce, grant.instance) == (claim.nonce, claim.instance)
    assert claim.baseline


def _agents(installation: RunningInstallation) -> list[AgentKey]:
    return read_agents(installation.home.agents).agents


async def test_a_secret_is_found_nowhere(installation: RunningInstallation, writ: Writ, files: Path) -> None:
    done = await write(writ, files / "secret", CANARY)
    kept = await writ.run("test_secret", "web-1", {"secret": CANARY, "label": "here"}, timeout=30)
    assert (done.outcome, kept.outcome) == ("succeeded", "succeeded")
    assert (await writ.result(kept.operation_id) or {})["echo"] == CANARY
    read = await writ.run("file_read", "web-1", {"file_path": str(files / "secret")}, timeout=30)
    assert (await writ.result(read.operation_id) or {})["content"] == CANARY
    wrong = await writ.submit("test_secret", "web-1", {"secret": [CANARY]})
    assert wrong.error
    assert CANARY not in wrong.error.message
    assert CANARY not in installation.logs()
    assert containing(search.files(installation.home.root), CANARY) == []
    assert CANARY not in await metrics_of(installation)


async def metrics_of(installation: RunningInstallation, services: int = 5) -> str:
    """Return the metrics of at least so many processes."""
    texts = []
    for path in installation.home.run.glob("*.json"):
        facts = json.decode(path.read_bytes())
        if "health_port" not in facts:
            continue
        reader, writer = await asyncio.open_connection("127.0.0.1", facts["health_port"])
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        texts.append((await reader.read()).decode())
        writer.close()
    assert len(texts) >= services
    assert all("writ_handled_total" in text or "writ_" in text for text in texts)
    return "\n".join(texts)


async def test_two_local_agents_never_get_each_others_work(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    counts = {name: files / f"count-{name}" for name in ("web-1", "db-1")}
    runs = [
        writ.run("test_count", target, {"path": str(path)}, timeout=60)
        for _ in range(4)
        for target, path in counts.items()
    ]
    done = await asyncio.gather(*runs)
    assert {view.outcome for view in done} == {"succeeded"}
    for view in done:
        trace = await writ.trace(operation_id=view.operation_id)
        started = next(event.body for event in trace.events if event.kind == "granted")
        claim = json.decode(json.encode(started["claim"]["payload"]), type=Claim)
        assert claim.pool == ("local-db" if view.target == "db-1" else f"local-{host_token()}")
        assert view.operation_id in counts[view.target].read_text()


async def test_documented_bare_client_works_unchanged(installation: RunningInstallation, files: Path) -> None:
    assert "import writ" not in SCRIPT
    assert "from writ" not in SCRIPT
    assert len(SCRIPT.splitlines()) == 38, "as README.md and docs/README.md say"
    (files / "bare").write_text("x")
    copy = ("file_copy", "web-1", f"source_path={files / 'bare'}", f"dest_path={files / 'bare-copy'}")
    status, out, err = await bare_client(installation, "alice", *copy)
    assert status == 0, err
    assert "finished succeeded\n" in out
    assert (files / "bare-copy").read_text() == "x"
    status, out, err = await bare_client(installation, "bob", *copy)
    assert (status, out) == (1, "")
    assert 'permissions violation for publish to "writ.request.bob.file_copy"' in err
    assert "Traceback" not in err


async def test_documented_bare_client_shows_output_and_reason(installation: RunningInstallation, files: Path) -> None:
    (files / "shown").write_text("the content")
    status, out, _ = await bare_client(installation, "alice", "file_read", "web-1", f"file_path={files / 'shown'}")
    assert (status, '"content":"the content"' in out) == (0, True)
    status, out, _ = await bare_client(installation, "alice", "file_read", "web-1", f"file_path={files / 'none'}")
    assert (status, f"finished failed not_found {files / 'none'}" in out) == (0, True), out


async def test_one_principal_cannot_speak_or_listen_as_another(installation: RunningInstallation) -> None:
    async with await installation.client("alice") as alice, await installation.client("bob") as bob:
        mine = await alice.run("test_noop", "web-1", timeout=30)
        with pytest.raises(Invalid, match="has no operation"):
            await bob.get(mine.operation_id)
        found = await bob.search(SearchQuery(principal="bob"))
        assert mine.operation_id not in {row.operation_id for row in found.rows}


async def test_trace_by_correlation_id_has_each_operation(writ: Writ) -> None:
    for _ in range(2):
        await writ.run("test_noop", "web-1", correlation_id="change-4711", timeout=30)

    async def both() -> bool:
        trace = await writ.trace(correlation_id="change-4711")
        return [event.kind for event in trace.events].count("finished") == 2

    await eventually(both, what="both of them in the index")


async def test_a_simulation_records_nothing(writ: Writ, files: Path) -> None:
    before = (await writ.journal()).last
    answer = await writ.simulate("file_write", "web-1", {"file_path": str(files / "zz"), "content": "x"})
    assert answer.verdict
    assert answer.verdict.decision == "allow"
    assert answer.hidden == ["content"]
    assert not (files / "zz").exists()
    assert (await writ.journal()).last == before


async def test_dry_run_shows_the_change_and_changes_nothing(writ: Writ, files: Path) -> None:
    path = files / "previewed"
    path.write_text("old")
    done = await writ.run("file_write", "web-1", {"file_path": str(path), "content": "new"}, dry_run=True, timeout=30)
    assert done.outcome == "previewed"
    assert (done.output["would"], done.output["size_before"]) == ("replace", 3)
    assert (await writ.with_output(done)).output["digest_before"] == hashlib.sha256(b"old").hexdigest()
    assert path.read_text() == "old"


async def test_a_cancel_ends_the_whole_process_tree(installation: RunningInstallation, writ: Writ) -> None:
    answer = await writ.submit("test_sleep", "web-1", {"seconds": 120, "processes": 3})
    assert answer.operation_id
    operation_id = answer.operation_id

    async def runs() -> bool:
        return (await writ.get(operation_id)).state == "started" and len(_marked(operation_id)) >= 6

    await eventually(runs)
    cancel = await writ.cancel(operation_id)
    assert cancel.outcome == "succeeded"
    done = await writ.wait(operation_id, timeout=30)
    assert done.outcome == "cancelled"
    assert _marked(operation_id) == []


def _marked(operation_id: str) -> list[int]:
    """Processes whose environment names the operation."""
    return [pid for pid in search.pids() if operation_id.encode() in search.environ(pid)]

"""The invariants of Writ: each is attacked once here, on a real installation.

Other tests attack them in more ways and smaller pieces; here a reader sees that none is missing.
"""

import ast
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import Raw, json, structs
from tests.e2e.stolen_keys import holding, robbed, started, subject

from writ_bus.port import Message
from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.agents import Claim, ClaimMessage, Receipt
from writ_contracts.decisions import Decision, Grant, GrantReply, GrantRequest
from writ_contracts.errors import Untrusted, WritError
from writ_contracts.journal import Refused
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, decode_event, encode
from writ_documents.readers import read_agents, read_inventory
from writ_testing import search
from writ_testing.eventually import eventually
from writ_testing.fakes.rogue_executor import Forger
from writ_testing.installations.installation import RunningInstallation
from writ_testing.search import containing
from writ_trust.statements import open_signed

pytestmark = pytest.mark.asyncio(loop_scope="module")
CANARY = "canary-0ad19e"
FILE_CLOCK = 0.2
"""Seconds by which a file's time may lag: the kernel takes that of its last tick, which a virtual machine may miss."""
ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    deny = {"name": "nobody_fails", "operations": ["test_fail"], "allowed": False}
    async with robbed(tmp_path_factory.mktemp("law"), deny) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def alice(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client("alice") as client:
        yield client


@pytest.fixture
def files(installation: RunningInstallation) -> Path:
    return installation.home.root.parent / "files"


async def test_1_no_effect_without_policys_signature_on_exactly_that_effect(
    installation: RunningInstallation, files: Path
) -> None:
    """The executors' key dispatches an unsigned delete, and answers the claim as well as it can."""
    (files / "dear").write_text("x")
    target = next(one for one in read_inventory(installation.home.inventory).targets if one.id == "web-1")
    parameters = {"file_path": str(files / "dear"), "timeout": 30}
    claimed, refused = [], []
    async with holding(installation, "executor") as thief:

        async def handle(message: Message) -> None:
            request = decode(message.data, ClaimMessage)
            claim = decode(bytes(request.claim.payload), Claim)
            wish = subject(installation, "file_delete", "web-1", parameters, operation_id=claim.operation_id)
            other = structs.replace(wish, operation="test_count", parameters={"path": str(files / "dear")})
            claimed.append(claim.operation_id)
            for about in (wish, structs.replace(wish, simulate=True), other):
                ask = GrantRequest(subject=about, claim=request.claim, control_sequence=0)
                reply = await thief.request(subjects.POLICY_GRANT, encode(ask), timeout=10)
                granted = decode(reply.data, GrantReply)
                assert granted.grant is None
                refused.append(about.operation)

        await thief.subscribe(subjects.claim("a"), handle)
        forger = Forger(thief, target, installation.home.key("executor"))
        number = await forger.dispatch("file_delete", parameters, principal="alice")

        async def attack_is_recorded() -> bool:
            return len(refused) == 3 and await thief.journal.last(subjects.security_event("forged_start")) is not None

        await eventually(attack_is_recorded)
    assert set(claimed) == {number}
    assert (files / "dear").read_text() == "x"


async def test_2_it_is_recorded_before_it_happens_and_refusals_are_too(
    installation: RunningInstallation, alice: Writ, files: Path
) -> None:
    path = files / "dated"
    done = await alice.run("file_write", "web-1", {"file_path": str(path), "content": "x"}, timeout=30)
    denied = await alice.submit("test_fail", "web-1")
    invalid = await alice.submit("file_write", "web-1", {"file_path": "relative", "content": "x"})
    async with holding(installation, "executor") as bus:
        times = {
            record.subject.split(".")[5]: record.time
            for record in await bus.journal.read(subjects.operation_filter("alice", done.operation_id))
        }
        assert times["requested"] <= times["dispatched"] <= times["granted"] <= path.stat().st_mtime + FILE_CLOCK
        assert path.stat().st_mtime <= times["finished"]
        for reply in (denied, invalid):
            [record] = await bus.journal.read(subjects.operation_filter("alice", reply.operation_id or ""))
            assert isinstance(decode_event(record.data), Refused)


async def test_3_everything_ends_once_also_when_its_agent_is_killed(
    installation: RunningInstallation, alice: Writ
) -> None:
    reply = await alice.submit("test_sleep", "web-1", {"seconds": 60, "processes": 0, "timeout": 2})
    number = reply.operation_id or ""
    async with holding(installation, "executor") as bus:
        await started(bus, "alice", number)
        pid = installation.kill("agent-a")
        done = await alice.wait(number, timeout=60)
        assert done.outcome in ("unknown", "failed", "cancelled")
        await installation.until("agent-a", other_than=pid)
        events = [decode_event(r.data) for r in await bus.journal.read(subjects.operation_filter("alice", number))]
    outcomes = [event for event in events if event.__struct_config__.tag in ("finished", "unknown")]
    assert len(outcomes) == 1


async def test_4_deny_wins_and_unknown_is_refused(installation: RunningInstallation, alice: Writ) -> None:
    denied = await alice.submit("test_fail", "web-1")  # another rule allows it
    assert denied.verdict is not None
    assert (denied.outcome, denied.verdict.rules) == ("denied", ["nobody_fails"])
    async with holding(installation, "principal-alice") as bus:
        for operation, request in (
            ("test_nothing", {"target": "web-1"}),
            ("test_noop", {"target": "web-9"}),
            ("test_noop", {"target": "web-1", "sudo": True}),
            ("test_noop", {"target": "web-1", "parameters": {"shell": "sh"}}),
            ("test_noop", {"target": "web-1", "statement": {"payload": {}, "key": "U", "signature": ""}}),
        ):
            reply = await bus.request(subjects.request("alice", operation), json.encode(request), timeout=10)
            assert json.decode(reply.data)["outcome"] == "invalid", (operation, request)


WORDS = ("$(touch MARK)", "`touch MARK`", "; touch MARK", "| touch MARK", "&& touch MARK", "' ; touch MARK ; '")


async def test_5_parameters_never_reach_a_shell(installation: RunningInstallation, alice: Writ, files: Path) -> None:
    for number, word in enumerate(WORDS):
        mark = files / f"mark-{number}"
        text = word.replace("MARK", mark.name)
        path = files / text
        written = await alice.run("file_write", "web-1", {"file_path": str(path), "content": text}, timeout=30)
        copied = await alice.run("file_copy", "web-1", {"source_path": str(path), "dest_path": f"{path} 2"}, timeout=30)
        assert (written.outcome, copied.outcome, path.read_text()) == ("succeeded", "succeeded", text)
        await alice.run("service_restart", "web-1", {"service_name": f"nginx{text}"}, timeout=30)
        assert not mark.exists()
    assert [str(path) for path in _sources() if _calls_a_shell(path)] == []


def _sources() -> list[Path]:
    return [
        path for room in ("libs", "services") for path in (ROOT / room).rglob("*.py") if "testing" not in path.parts
    ]


def _calls_a_shell(path: Path) -> bool:
    shells = {"system", "popen", "create_subprocess_shell", "getoutput", "getstatusoutput"}
    return any(
        isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Attribute) and node.func.attr in shells)
            or any(word.arg == "shell" for word in node.keywords)
        )
        for node in ast.walk(ast.parse(path.read_text()))
    )


async def test_6_the_record_can_be_checked_and_not_rewritten(
    installation: RunningInstallation, alice: Writ, files: Path
) -> None:
    done = await alice.run("file_write", "web-1", {"file_path": str(files / "kept"), "content": "x"}, timeout=30)
    trace = await alice.trace(operation_id=done.operation_id)
    policy = {installation.home.key("policy").public}
    agents = {one.key for one in read_agents(installation.home.agents).agents}
    kinds: dict[str, tuple[type[Any], set[str]]] = {
        "decision": (Decision, policy),
        "grant": (Grant, policy),
        "claim": (Claim, agents),
        "receipt": (Receipt, agents),
    }
    checked = set()
    for event in trace.events:
        for name in kinds.keys() & {key for key, value in event.body.items() if value}:
            signed = json.decode(json.encode(event.body[name]), type=Signed)
            open_signed(signed, *kinds[name], installation.home.installation)
            changed = bytes(signed.payload).replace(done.operation_id.encode(), b"a" * 26)
            with pytest.raises(Untrusted):
                open_signed(structs.replace(signed, payload=Raw(changed)), *kinds[name], installation.home.installation)
            checked.add(name)
    assert checked == set(kinds)
    async with holding(installation, "bootstrap") as bus:
        softer = {"name": "WRIT_JOURNAL", "deny_delete": False}
        for verb, body in (("MSG.DELETE", {"seq": 1}), ("PURGE", {}), ("UPDATE", softer)):
            reply = await bus.request(f"$JS.API.STREAM.{verb}.WRIT_JOURNAL", json.encode(body), timeout=10)
            assert json.decode(reply.data).get("error"), verb


async def test_7_secrets_stay_out(installation: RunningInstallation, alice: Writ, files: Path) -> None:
    path = str(files / "secret")
    requests: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("file_write", "web-1", {"file_path": path, "content": CANARY}),
        ("file_write", "web-1", {"file_path": path, "content": [CANARY]}),
        ("file_write", "web-1", {"file_path": path, "content": {CANARY: CANARY}}),
        ("file_write", "web-1", {"file_path": "relative", "content": CANARY}),
        ("file_write", "web-1", {"file_path": f"{path}/below", "content": CANARY}),
        ("file_write", "web-1", {"file_path": "/proc/self/root/x", "content": CANARY}),
        ("file_write", "web-1", {"file_path": path, "content": CANARY, "mode": "9999"}),
        ("file_write", "nowhere", {"file_path": path, "content": CANARY}),
        ("nothing", "web-1", {"file_path": path, "content": CANARY}),
        ("test_secret", "web-1", {"secret": CANARY, "label": "x" * 500}),
        ("test_secret", "web-1", {"secret": CANARY * 20_000}),
        ("test_secret", "db-1", {"secret": CANARY}),
        ("file_read", "web-1", {"file_path": path}),
    )
    texts = []
    for operation, target, parameters in requests:
        for dry_run in (True, False):
            try:
                view = await alice.run(operation, target, parameters, dry_run=dry_run, timeout=30, reason="to try")
                texts.append(json.encode(view))
                texts.append(json.encode(await alice.trace(operation_id=view.operation_id)))
            except WritError as error:
                texts.append(str(error).encode())
    assert not any(mark in text for mark in _spellings(CANARY) for text in texts)
    assert containing(search.files(installation.home.root), *_spellings(CANARY)) == []
    for process in installation.report.processes:
        assert CANARY.encode() not in Path(f"/proc/{process.pid}/environ").read_bytes()
        assert CANARY.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()


def _spellings(secret: str) -> list[bytes]:
    """Return the value in plain form, in base64, in hexadecimal, and its bare hash."""
    raw = secret.encode()
    return [raw, base64.b64encode(raw)[:-4], raw.hex().encode()]

"""An attacker with one key of a real installation, or a user on its machine, gets no more than the key's rights.

The installation starts in a foreign folder, with foreign secrets in its environment.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import json, msgpack

from writ_bus.port import Bus
from writ_client.context import Context, open_bus
from writ_contracts import subjects
from writ_contracts.journal import Refused
from writ_contracts.registry import CHANNELS, Role, Style
from writ_contracts.wire import MSGPACK, decode_event
from writ_documents.atomic_files import write_atomically
from writ_installation.administration.principals import admitted
from writ_installation.files.tokens import make
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    WRIT,
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_trust.enrolment_tickets import read_ticket

pytestmark = pytest.mark.asyncio(loop_scope="module")
CANARY = "canary-71c2ab"
MODULES = ("writ_policy", "writ_executor", "writ_audit", "writ_agent_local", "writ_client", "writ_hostops", "msgspec")
ENVIRON = {
    "AWS_SECRET_ACCESS_KEY": CANARY,
    "WRIT_HEARTBEAT": "0.5",
    "WRIT_LEASE": "2",
    "WRIT_REFUSAL_BURST": "10000",
    "WRIT_BURST": "10000",
}
CANCELS = {"name": "operators_cancel", "operations": ["operation_cancel", "stop_set", "stop_lift"], "allowed": True}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("attacked")
    hostile = folder / "hostile"
    hostile.mkdir()
    for name in MODULES:
        (hostile / f"{name}.py").write_text(
            f"open({str(folder / 'taken')!r}, 'a').write(__name__)\nraise SystemExit(9)\n"
        )
    targets = [local_target(name, folder / "files", agent=pool) for name, pool in (("web-1", "a"), ("db-1", "b"))]
    people: list[tuple[str, dict[str, Any]]] = [
        ("alice", {}),
        ("bob", {}),
        ("copilot", {"kind": "agent", "acts_for": "alice"}),
        ("trivy", {"kind": "service", "roles": ["scanner"]}),
    ]
    home = prepare(folder, targets=targets, policy=open_policy(CANCELS), principals=people)
    async with running_installation(folder, home=home, environ=ENVIRON, cwd=hostile, command=WRIT) as running:
        yield running


@asynccontextmanager
async def holding(installation: RunningInstallation, key: str, name: str | None = None) -> AsyncIterator[Bus]:
    """Yield a bus with this key of the installation."""
    name = name or key.removeprefix("principal-")
    bus = await open_bus(Context(principal=name, url=installation.url), installation.home.key(key).seed, wait=10)
    try:
        yield bus
    finally:
        await bus.close()


@pytest_asyncio.fixture(loop_scope="module")
async def alice(installation: RunningInstallation) -> AsyncIterator[Bus]:
    async with holding(installation, "principal-alice") as bus:
        yield bus


async def test_nothing_is_run_from_the_folder_where_the_installation_was_started(
    installation: RunningInstallation, files: Path
) -> None:
    async with await installation.client() as writ:
        parameters = {"file_path": str(files / "here"), "content": "x"}
        assert (await writ.run("file_write", "web-1", parameters, timeout=30)).outcome == "succeeded"
    assert not (installation.home.root.parent / "taken").exists()


@pytest.fixture
def files(installation: RunningInstallation) -> Path:
    return installation.home.root.parent / "files"


async def test_no_process_has_the_secrets_of_who_started_the_installation(installation: RunningInstallation) -> None:
    seeds = [path.read_bytes().strip() for path in installation.home.keys.iterdir()]
    for one in installation.report.processes:
        process = Path(f"/proc/{one.pid}")
        environ, words = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
        assert CANARY.encode() not in environ + words, one.name
        assert not any(seed in environ + words for seed in seeds), one.name
        cores = next(line for line in (process / "limits").read_text().splitlines() if "core file" in line)
        assert cores.split()[4:6] == ["0", "0"], one.name


GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[1,2]",
    "cut off": b'{"target":"web',
    "not UTF-8": b'{"target":"\xff\xfe"}',
    "a surrogate": b'{"target":"web-1","parameters":{"a":"\\ud800"}}',
    "deep": b'{"target":"web-1","parameters":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "nearly too deep": b'{"target":"web-1","parameters":{"a":' + b"[" * 940 + b"]" * 940 + b"}}",
    "large": b'{"target":"' + b"x" * 1_900_000 + b'"}',
    "a long number": b'{"target":"web-1","parameters":{"timeout":' + b"9" * 4_000 + b"}}",
    "numbers of no kind": b'{"target":"web-1","parameters":{"timeout":NaN}}',
    "controls": b'{"target":"\\u001b[31mweb-1\\n","reason":"\\u0000\\u009b31m\\n","parameters":{"\\u001b[2J":"\\n"}}',
    "a name of no end": b'{"' + b"z" * 900_000 + b'":1}',
    "a parameter of no end": b'{"target":"web-1","parameters":{"' + b"z" * 900_000 + b'":1}}',
    "a statement of no end": b'{"target":"web-1","statement":{"payload":"'
    + b"y" * 900_000
    + b'","key":"U'
    + b"A" * 55
    + b'","signature":"zz"}}',
}
HEADERS: dict[str, dict[str, str]] = {
    "plain": {},
    "as MessagePack": {"Content-Type": MSGPACK},
    "as whatever": {"Content-Type": "x" * 10_000},
    "with no trace": {"traceparent": "00-" + "0" * 200, "Writ-Correlation-Id": "a b" * 1000},
    "with a cause": {"traceparent": f"00-{'1' * 32}-{'1' * 16}-01", "Writ-Event-Id": "z" * 90_000},
}
REQUEST_CHANNELS = [one for one in CHANNELS if one.style is Style.REQUEST]


@pytest.mark.parametrize("name", [one.name for one in REQUEST_CHANNELS])
async def test_any_message_is_answered_and_breaks_nothing(installation: RunningInstallation, name: str) -> None:
    channel = next(one for one in REQUEST_CHANNELS if one.name == name)
    key = {Role.PRINCIPAL: "principal-bob", Role.AGENT: "agent-a", Role.SCANNER: "principal-trivy"}.get(
        channel.senders[0], channel.senders[0].value
    )
    token = await _token(installation) if Role.ENROLLER in channel.senders else ""
    pids = {one.name: one.pid for one in installation.report.processes}
    wrong: list[object] = []
    async with holding(installation, f"enrol-{token}" if token else key) as bus:
        who = "trivy" if Role.SCANNER in channel.senders else "bob"
        tokens = {"principal": who, "pool": "a", "operation": "test_noop", "token": token}
        subject = channel.subject(**tokens, instance=await _instance(installation))
        for what, data in GARBAGE.items():
            for how, headers in HEADERS.items():
                answer = await bus.request(subject, data, timeout=20, headers=headers)
                reply = _decoded(answer.data, answer.headers)
                if not reply.get("error") or reply["error"]["code"] == "internal" or len(answer.data) > 10_000:
                    wrong.append((what, how, str(reply)[:300]))
    assert not wrong
    assert {one.name: one.pid for one in installation.report.processes} == pids
    assert "Traceback" not in installation.logs()


async def test_every_refusal_is_on_record_whatever_came_with_it(installation: RunningInstallation) -> None:
    async with holding(installation, "principal-bob") as bob, holding(installation, "executor") as journal:
        answers = [
            json.decode((await bob.request(f"writ.request.bob.{name}", data, timeout=20, headers=headers)).data)
            for name in ("test_noop", "file_write", "x" * 500, "\u202etest_noop")
            for data in GARBAGE.values()
            for headers in (HEADERS["plain"], HEADERS["with a cause"])
        ]
        records = await journal.journal.read("writ.journal.op.bob.>")
        events = [decode_event(record.data) for record in records]
    known = {event.operation_id for event in events if isinstance(event, Refused)}
    assert {answer["error"]["message"] for answer in answers if answer["operation_id"] not in known} == set()
    assert max(len(record.data) for record in records) < 20_000


async def _token(installation: RunningInstallation) -> str:
    """Return a one-time token known to NATS; its private half is beside the keys of the installation."""
    made, text = make(installation.home, "a", installation.url, 1e12)
    seed = read_ticket(text).key.seed
    write_atomically(installation.home.seed_file(f"enrol-{made.id}"), seed)
    assert await admitted(installation.home, f"enrol-{made.id}", seed)
    return made.id


def _decoded(data: bytes, headers: Any) -> dict[str, Any]:
    if headers.get("Content-Type") == MSGPACK:
        return dict(msgpack.decode(data))
    return dict(json.decode(data)) if data else {}


async def _instance(installation: RunningInstallation) -> str:
    instances: list[str] = []

    async def heard(message: Any) -> None:
        instances.append(json.decode(message.data)["instance"])

    async with holding(installation, "executor") as bus:
        listening = await bus.subscribe(subjects.heartbeat("a"), heard)

        async def known() -> str | None:
            return instances[0] if instances else None

        found = await eventually(known)
        await listening.close()
        return found

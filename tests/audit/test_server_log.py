# long: one subject, the log of the NATS server
"""Refusals in NATS' log are read correctly despite text of clients and rotation of the log."""

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_audit.metrics import AuditMeasures
from writ_audit.server_log import follower, key_owners
from writ_audit.server_log.followed_logs import FollowedLogs
from writ_audit.server_log.follower import ServerLog
from writ_audit.server_log.key_owners import KeyOwners
from writ_audit.server_log.refusal import FailedLogin, Violation, refusal
from writ_bus.tasks import spawn
from writ_contracts import subjects
from writ_contracts.agents import SecurityKind
from writ_contracts.catalogue.control import PrincipalManage
from writ_contracts.installation.account_names import account_owner
from writ_contracts.inventory import Principal
from writ_contracts.journal import SecurityEvent
from writ_contracts.people.principal_changes import principals_in_force
from writ_contracts.wire import decode_event
from writ_executor.journal import own_violations
from writ_executor.journal.own_violations import OwnViolations
from writ_runtime.health import Attention, Detail
from writ_runtime.journal.security_events import SecurityEvents
from writ_runtime.metrics import Metrics
from writ_testing.eventually import eventually
from writ_testing.memory.bus import MemoryBus
from writ_testing.peers.nats_server import writ_server
from writ_trust.keys import Key, generate_seed

KEY = Key(generate_seed()).public
STAMP = "[10227] 2026/11/28 18:23:52.346574 [ERR] 127.0.0.1:59634 - cid:6 - "


def violation(
    subject: str = "writ.request.operator.service_restart",
    account: str = "REQ_bot",
    client: str = "v1:py:x",
    verb: str = "Publish",
) -> str:
    return f'{STAMP}"{client}" - "{account}/nkey:{KEY}" - {verb} Violation - Subject "{subject}"'


def failed(key: str = KEY, host: str = "127.0.0.1") -> str:
    return f'{STAMP.replace("127.0.0.1", host)}authentication error - Nkey "{key}"'


def test_client_that_names_nothing_is_read_too() -> None:
    """The server leaves out the quoted name, language and version of such a client."""
    found = refusal(violation().replace('"v1:py:x" - ', ""))
    assert isinstance(found, Violation)
    assert (found.account, found.key, found.client) == ("REQ_bot", KEY, "")


def test_refusals_of_nats_are_read() -> None:
    found = refusal(violation())
    assert isinstance(found, Violation)
    assert (found.account, found.key, found.verb) == ("REQ_bot", KEY, "publish")
    assert found.subject == "writ.request.operator.service_restart"
    queue = refusal(violation("q.>", verb="Subscription") + ', Queue: "grp", SID 2')
    assert isinstance(queue, Violation)
    assert (queue.verb, queue.subject) == ("subscribe", "q.>")
    reply = refusal(violation().replace("Subject", "Reply"))
    assert isinstance(reply, Violation)
    assert reply.verb == "reply"
    login = refusal(failed())
    assert isinstance(login, FailedLogin)
    assert (login.key, login.host) == (KEY, "127.0.0.1")
    token = refusal(f'{STAMP}authentication error - Token "[REDACTED]"')
    assert isinstance(token, FailedLogin)
    assert (token.key, token.claimed) == ("", 'Token "[REDACTED]"')
    assert refusal(f"{STAMP}authentication error") == FailedLogin(
        host="127.0.0.1", connection="cid:6", key="", claimed=""
    )


@pytest.mark.parametrize(
    "line",
    [
        "",
        violation()[1:],
        violation() + " ",
        violation().replace("[ERR]", "[INF]"),
        violation(client='x" - "REQ_alice/nkey:' + KEY),
        violation("a\nb"),
        violation(client="\x1b[31m"),
        f'{STAMP}"x" - processPub Parse Error: {violation()}',
        f'{STAMP}authentication error - Nkey "a"b"',
    ],
)
def test_any_other_line_is_no_refusal(line: str) -> None:
    assert refusal(line) is None


def test_hostile_names_and_subjects_stay_quoted_and_bounded() -> None:
    fake = 'evil\\"\\n' + failed().replace('"', '\\"')
    found = refusal(violation(subject="x" * 1_000_000, client=fake))
    assert isinstance(found, Violation)
    assert (len(found.subject), len(found.client)) == (203, len(fake))
    assert found.account == "REQ_bot"
    login = refusal(failed(key=fake))
    assert isinstance(login, FailedLogin)
    assert login.key == ""
    assert len(login.claimed) < 250
    assert refusal(violation(client='"' * 1_000_000)) is None
    assert refusal(violation(client="\\" * 1_000_001)) is None


@given(st.text(), st.text())
def test_client_name_does_not_change_the_account_of_a_violation(client: str, subject: str) -> None:
    found = refusal(violation(json.dumps(subject)[1:-1], client=json.dumps(client)[1:-1]))
    assert isinstance(found, Violation)
    assert (found.account, found.key) == ("REQ_bot", KEY)
    assert (found.client + found.subject).isascii()


def test_owners_are_named_by_their_accounts() -> None:
    assert account_owner("REQ_bot").principal == "bot"
    assert account_owner("GATEWAY_mcp").principal == "mcp"
    assert account_owner("AGENT_ssh").pool == "ssh"
    assert account_owner("EXECUTOR").text == "account EXECUTOR"
    assert account_owner("REQ_a b").principal is None


def append(path: Path, *lines: str) -> None:
    with path.open("a") as log:
        log.writelines(f"{line}\n" for line in lines)


class Followed:
    def __init__(self, folder: Path) -> None:
        self.bus, self.path, self.config = MemoryBus(), folder / "nats.log", folder / "server.conf"
        self.principals = folder / "principals.yaml"
        self.path.touch()
        self.principals.write_text(f"principals:\n  - {{id: alice, kind: human, roles: [operator], key: {KEY}}}\n")
        self.counted = list[SecurityKind]()
        self.security = SecurityEvents(self.bus.journal, lambda: 1.0, lambda _: None)
        self.log = self.again()

    def again(self) -> ServerLog:
        """Return the follower of audit's next process."""
        owners = KeyOwners(self.principals, None, self.config)
        return ServerLog(self.path, owners, self.security, self.counted.append, self.path.parent)

    async def events(self, kind: SecurityKind) -> list[SecurityEvent]:
        records = await self.bus.journal.read(subjects.security_event(kind))
        events = [decode_event(one.data) for one in records]
        return [one for one in events if isinstance(one, SecurityEvent)]

    async def has(self, kind: SecurityKind, number: int) -> list[SecurityEvent]:
        async def enough() -> list[SecurityEvent] | None:
            found = await self.events(kind)
            return found if len(found) >= number else None

        return await eventually(enough)


@pytest.fixture
async def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Followed":
    monkeypatch.setattr(follower, "CHECK_EVERY", 0.01)
    return Followed(tmp_path)


async def following(one: Followed, work: Callable[[], None]) -> asyncio.Task[None]:
    running = spawn(one.log.run(), "server log")
    spawn(one.security.run(), "security events")
    work()
    return running


async def test_flood_of_violations_gives_few_events(followed: Followed) -> None:
    await following(followed, lambda: append(followed.path, *[violation()] * 1_000))

    async def all_counted() -> bool:
        return len(followed.counted) == 1_000

    await eventually(all_counted)
    events = await followed.has("permission_violation", 5)
    assert len(events) == 5
    assert {one.principal for one in events} == {"bot"}


GATEWAY = "GATEWAY_mcp"
SERVED = """principals:
  - {id: mcp, kind: gateway, key: %s}
  - {id: bot, kind: agent, via: mcp, disabled: true, key: %s}
"""


async def test_gateway_that_sends_for_its_disabled_principal_is_not_taken_for_a_thief(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "JUDGED_AFTER", 0.0)
    followed.principals.write_text(SERVED % (KEY, Key(generate_seed()).public))
    honest = [violation(f"writ.{one}", GATEWAY) for one in ("query.bot.targets", "request.bot.file_write")]
    honest.append(violation("writ.event.op.bot.>", GATEWAY, verb="Subscription"))
    await following(followed, lambda: append(followed.path, *honest))
    events = await followed.has("authentication_failed", 3)
    assert {one.principal for one in events} == {"bot"}
    assert "gateway mcp" in events[0].detail
    assert "for principal bot, which has no access now" in events[0].detail
    assert followed.counted == ["authentication_failed"] * 3


async def test_gateway_that_is_ahead_of_nats_after_a_change_causes_no_event(followed: Followed) -> None:
    """The files say that `bot` is enabled, or that it is disabled, before NATS or the gateway knows."""
    followed.principals.write_text(SERVED % (KEY, Key(generate_seed()).public))
    lines = violation("writ.query.bot.targets", GATEWAY), violation("writ.query.alice.targets", GATEWAY)
    await following(followed, lambda: append(followed.path, *lines))
    [event] = await followed.has("permission_violation", 1)
    assert "writ.query.alice.targets" in event.detail
    assert followed.counted == ["authentication_failed", "permission_violation"]


@pytest.fixture
def served(followed: Followed) -> Followed:
    """`bot` has been disabled for long."""
    followed.principals.write_text(SERVED % (KEY, Key(generate_seed()).public))
    long_ago = time.time() - 2 * follower.JUDGED_AFTER
    os.utime(followed.principals, (long_ago, long_ago))
    followed.log = followed.again()
    return followed


@pytest.mark.parametrize("number", [200, 1_000])
async def test_refusals_of_a_disabled_principal_count_while_other_files_change(served: Followed, number: int) -> None:
    served.config.write_text("# changed just now")
    await following(served, lambda: append(served.path, *[violation("writ.query.bot.targets", GATEWAY)] * number))
    await served.has("authentication_failed", 1)
    await eventually(lambda: asyncio.sleep(0, len(served.counted) == number))
    assert set(served.counted) == {"authentication_failed"}
    assert await served.events("permission_violation") == []


async def test_change_of_a_principal_by_an_operation_gives_nats_time(served: Followed) -> None:
    changes = served.path.with_name("principal-changes.json")
    changes.write_text("{}")
    owners = KeyOwners(served.principals, served.path.with_name("agents.yaml"), served.config)
    served.log = ServerLog(served.path, owners, served.security, served.counted.append, served.path.parent)
    lines = violation("writ.query.bot.targets", GATEWAY), violation("writ.query.alice.targets", GATEWAY)
    await following(served, lambda: append(served.path, *lines))
    await served.has("permission_violation", 1)
    assert served.counted == ["authentication_failed", "permission_violation"]
    assert await served.events("authentication_failed") == []


async def test_line_that_waits_when_audit_stops_is_no_violation(
    served: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, waits, release = list[int](), threading.Event(), threading.Event()
    read = KeyOwners.read

    def slow(owners: KeyOwners) -> None:
        reads.append(1)
        if len(reads) > 1:
            waits.set()
            release.wait(10)
        read(owners)

    monkeypatch.setattr(KeyOwners, "read", slow)
    running = await following(served, lambda: append(served.path, violation("writ.query.bot.targets", GATEWAY)))
    try:
        await eventually(lambda: asyncio.sleep(0, waits.is_set()))
        running.cancel()
        await asyncio.wait([running])
    finally:
        release.set()
    assert served.counted == ["authentication_failed"]


async def test_gateway_that_tries_what_no_gateway_may_is_a_violation(followed: Followed) -> None:
    """Somebody else's name, a request for people, a query that gateways have not, and a served name in other words."""
    followed.principals.write_text(SERVED % (KEY, Key(generate_seed()).public))
    subjects = [
        "query.alice.targets",
        "request.bot.approval_decide",
        "approval.bot",
        "query.bot.approvals",
        "request.bot",
    ]
    forged = [violation(f"writ.{one}", GATEWAY) for one in subjects]
    forged.append(violation("writ.query.bot.targets", GATEWAY, verb="Subscription"))
    forged.append(violation("writ.query.bot.targets", "GATEWAY_other"))
    forged.append(violation("writ.query.bot.targets", "REQ_mcp"))
    await following(followed, lambda: append(followed.path, *forged))

    async def all_counted() -> bool:
        return len(followed.counted) == len(forged)

    await eventually(all_counted)
    assert set(followed.counted) == {"permission_violation"}


async def test_late_replies_of_services_are_no_violations(followed: Followed) -> None:
    late = [violation("_R_.dtuERC.njmsKV", "POLICY"), violation("_R_.dtuERC.njmsKV", "AGENT_ssh")]
    forged = violation("_INBOX.alice.y", "REQ_bot")
    await following(followed, lambda: append(followed.path, *late, forged))
    [event] = await followed.has("permission_violation", 1)
    assert "_INBOX.alice.y" in event.detail
    assert followed.counted == ["permission_violation"]


@pytest.mark.parametrize(
    "subject", ["_INBOX_executor.abc.7", "_INBOX.x.y", "_R_.x", "_R_.dtuERC.njmsKV.more", "_R_.dtuERC.a-b-c-d"]
)
async def test_reply_that_no_honest_service_sends_is_a_violation(followed: Followed, subject: str) -> None:
    await following(followed, lambda: append(followed.path, violation(subject, "EXECUTOR")))
    [event] = await followed.has("permission_violation", 1)
    assert subject in event.detail


async def test_second_late_reply_to_one_request_is_a_violation(followed: Followed) -> None:
    await following(followed, lambda: append(followed.path, *[violation("_R_.dtuERC.njmsKV", "EXECUTOR")] * 2))
    [event] = await followed.has("permission_violation", 1)
    assert "_R_.dtuERC.njmsKV" in event.detail


async def test_failed_logins_name_the_owner_of_the_key_without_proof(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "JUDGED_AFTER", 0.0)
    stranger = Key(generate_seed()).public
    await following(followed, lambda: append(followed.path, failed(), failed(stranger)))
    first, second = await followed.has("authentication_failed", 2)
    assert first.principal == "alice"
    assert "without proof" in first.detail
    assert second.principal is None
    assert stranger in second.detail


DISABLE = {"action": "disable", "principal_id": "alice", "replaces": f"{KEY}.0"}


@pytest.mark.parametrize("by_operation", [False, True])
async def test_failed_login_of_a_disabled_principal_is_no_violation(
    followed: Followed, monkeypatch: pytest.MonkeyPatch, by_operation: bool
) -> None:
    """Its client polls on. `helper` acts for the disabled person; somebody else's key is a violation as before."""
    monkeypatch.setattr(follower, "JUDGED_AFTER", 0.0)
    helper, bob = (Key(generate_seed()).public for _ in range(2))
    people = [
        {"id": "alice", "kind": "human", "key": KEY, "disabled": not by_operation},
        {"id": "helper", "kind": "agent", "acts_for": "alice", "key": helper},
        {"id": "bob", "kind": "human", "key": bob},
    ]
    followed.principals.write_text(json.dumps({"principals": people}))
    changes = [{"operation_id": "a" * 26, "change": DISABLE}] if by_operation else []
    followed.path.with_name("principal-changes.json").write_text(json.dumps({"changes": changes}))
    owners = KeyOwners(followed.principals, followed.path.with_name("agents.yaml"), followed.config)
    measured = Metrics()
    security = SecurityEvents(followed.bus.journal, lambda: 1.0, AuditMeasures(measured, float, float).alarmed)
    followed.log = ServerLog(followed.path, owners, security, followed.counted.append, followed.path.parent)
    followed.security = security
    await following(followed, lambda: append(followed.path, failed(), failed(helper), failed(bob)))
    events = await followed.has("principal_disabled", 2)
    assert {one.principal for one in events} == {"alice", "helper"}
    assert "without proof" in events[0].detail
    [event] = await followed.has("authentication_failed", 1)
    assert event.principal == "bob"
    counted = [
        one for one in measured.exposition()[0].decode().splitlines() if one.startswith("writ_security_events_total")
    ]
    assert [one for one in counted if not one.endswith((" 0", " 0.0"))] == [
        'writ_security_events_total{kind="authentication_failed"} 1.0'
    ]


async def test_only_the_present_key_of_a_disabled_principal_is_no_violation(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that was replaced may be a thief's. One that an operation added is known, too."""
    monkeypatch.setattr(follower, "JUDGED_AFTER", 0.0)
    rotated, added = (Key(generate_seed()).public for _ in range(2))
    made = [
        {"action": "rotate", "principal_id": "alice", "key": rotated, "replaces": f"{KEY}.0"},
        DISABLE,
        {"action": "add", "principal_id": "crawler", "kind": "human", "key": added, "replaces": ""},
        {"action": "disable", "principal_id": "crawler", "replaces": ""},
    ]
    changes = [{"operation_id": f"{at}" * 26, "change": one} for at, one in enumerate(made)]
    followed.principals.write_text(json.dumps({"principals": [{"id": "alice", "kind": "human", "key": KEY}]}))
    file = followed.path.with_name("principal-changes.json")
    file.write_text(json.dumps({"changes": changes}))
    owners = KeyOwners(followed.principals, followed.path.with_name("agents.yaml"), followed.config)
    followed.log = ServerLog(followed.path, owners, followed.security, followed.counted.append, followed.path.parent)
    await following(followed, lambda: append(followed.path, failed(KEY), failed(rotated)))
    [event] = await followed.has("principal_disabled", 1)
    assert (event.principal, rotated in event.detail) == ("alice", True)
    [event] = await followed.has("authentication_failed", 1)
    assert (event.principal, KEY in event.detail) == ("alice", True)
    file.write_text('{"chan')  # the last good content stays
    append(followed.path, failed(added))
    events = await followed.has("principal_disabled", 2)
    assert events[1].principal == "crawler"


async def test_failed_logins_by_many_keys_read_the_changes_once(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can name keys. To apply 1,000 changes to as many principals takes 50 ms, for which the log waits."""
    monkeypatch.setattr(follower, "JUDGED_AFTER", 0.0)
    applied = list[int]()

    def counted(listed: Sequence[Principal], changes: Iterable[PrincipalManage]) -> Mapping[str, Principal]:
        applied.append(1)
        return principals_in_force(listed, changes)

    monkeypatch.setattr(key_owners, "principals_in_force", counted)
    file = followed.path.with_name("principal-changes.json")
    file.write_text('{"changes": []}')
    owners = KeyOwners(followed.principals, followed.path.with_name("agents.yaml"), followed.config)
    followed.log = ServerLog(followed.path, owners, followed.security, followed.counted.append, followed.path.parent)
    strangers = [failed(Key(generate_seed()).public, f"127.0.0.{at}") for at in range(1, 5)]
    await following(followed, lambda: append(followed.path, *strangers))
    await followed.has("authentication_failed", len(strangers))
    assert len(applied) == 1
    file.write_text(json.dumps({"changes": [{"operation_id": "a" * 26, "change": DISABLE}]}))
    append(followed.path, failed())
    await followed.has("principal_disabled", 1)
    assert len(applied) == 2


async def test_login_before_nats_read_the_new_key_is_no_event(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "JUDGED_AFTER", 0.3)
    early, stranger = (Key(generate_seed()).public for _ in range(2))

    def work() -> None:
        append(followed.path, failed(early), failed(early), failed(stranger))
        followed.config.write_text(f'{{"nkey": "{early}"}}')

    await following(followed, work)
    [event] = await followed.has("authentication_failed", 1)
    assert stranger in event.detail
    assert followed.counted == ["authentication_failed"] * 3


async def stop_while_logins_wait(followed: Followed, *keys: str) -> None:
    running = await following(followed, lambda: append(followed.path, *map(failed, keys)))

    async def wait() -> bool:
        return len(followed.counted) == len(keys)

    await eventually(wait)
    running.cancel()
    await asyncio.wait([running])


async def test_login_that_waits_to_be_judged_is_recorded_after_a_restart(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, later = (Key(generate_seed()).public for _ in range(2))
    await stop_while_logins_wait(followed, waiting)
    append(followed.path, failed(later))
    monkeypatch.setattr(follower, "JUDGED_AFTER", 0.0)
    spawn(followed.again().run(), "the next process")
    events = await followed.has("authentication_failed", 2)
    assert [waiting in events[0].detail, later in events[1].detail] == [True, True]
    assert followed.counted == ["authentication_failed"] * 2


async def test_login_before_nats_read_the_new_key_is_no_event_when_audit_was_down(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, later, stranger = (Key(generate_seed()).public for _ in range(3))
    await stop_while_logins_wait(followed, waiting)
    append(followed.path, failed(later), failed(stranger))
    followed.config.write_text(f'{{"nkey": "{waiting}", "other": "{later}"}}')
    monkeypatch.setattr(follower, "JUDGED_AFTER", 0.3)
    spawn(followed.again().run(), "the next process")
    [event] = await followed.has("authentication_failed", 1)
    assert stranger in event.detail


async def test_violation_while_audit_was_down_is_recorded_once(followed: Followed) -> None:
    running = await following(followed, lambda: append(followed.path, violation("a.b", "REQ_bot")))
    await followed.has("permission_violation", 1)
    running.cancel()
    await asyncio.wait([running])
    append(followed.path, violation("c.d", "REQ_bot"))
    spawn(followed.again().run(), "the next process")
    first, second = await followed.has("permission_violation", 2)
    assert '"a.b"' in first.detail
    assert '"c.d"' in second.detail


async def test_refusal_that_is_being_read_when_audit_stops_is_recorded_after_a_restart(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    read = FollowedLogs.read

    def slow(logs: FollowedLogs) -> tuple[list[str], bool]:
        found = read(logs)
        if found[0]:
            reading.set()
            go_on.wait(10.0)
        return found

    monkeypatch.setattr(FollowedLogs, "read", slow)
    running = await following(followed, lambda: append(followed.path, violation("a.b", "REQ_bot")))
    await asyncio.to_thread(reading.wait, 10.0)
    running.cancel()
    go_on.set()
    await asyncio.wait([running])
    spawn(followed.again().run(), "the next process")
    first, *_ = await followed.has("permission_violation", 1)
    assert '"a.b"' in first.detail


async def test_event_that_was_not_recorded_when_audit_stopped_is_recorded_after_a_restart(followed: Followed) -> None:
    running = spawn(followed.log.run(), "server log")  # nobody records: NATS is away
    append(followed.path, violation("a.b", "REQ_bot"))

    async def counted() -> bool:
        return followed.counted == ["permission_violation"]

    await eventually(counted)
    running.cancel()
    await asyncio.wait([running])
    followed.security = SecurityEvents(followed.bus.journal, lambda: 1.0, lambda _: None)
    followed.log = followed.again()
    await following(followed, lambda: None)
    [event] = await followed.has("permission_violation", 1)
    assert '"a.b"' in event.detail


async def test_service_that_records_nothing_since_another_one_does_says_so(followed: Followed) -> None:
    await following(followed, lambda: append(followed.path, violation()))
    await followed.has("permission_violation", 1)
    other = followed.again()

    async def waits() -> bool:
        return isinstance(await other.check(), Detail)

    spawn(other.run(), "the other process")
    await eventually(waits)
    assert await followed.log.check() is None


async def test_log_that_cannot_be_read_is_reported(followed: Followed) -> None:
    followed.path.unlink()
    await following(followed, lambda: None)

    async def complains() -> bool:
        return isinstance(await followed.log.check(), Attention)

    await eventually(complains)
    append(followed.path, "x")

    async def well() -> bool:
        return await followed.log.check() is None

    await eventually(well)
    unset = ServerLog(None, KeyOwners(None, None, None), followed.security, lambda _: None)
    assert isinstance(await unset.check(), Detail)


async def test_violation_of_an_honest_executor_is_recorded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_violations, "AUDIT_WITHIN", 1.5)
    path, by_executor = tmp_path / "nats.log", list[str]()
    async with writ_server(tmp_path, principals=["bot"]) as server:
        await server.process.stop()
        await server.start(f'log_file: "{path}"')
        audit = await server.bus("audit")
        security = SecurityEvents(audit.journal, lambda: 1.0, lambda _: None)
        log = ServerLog(path, KeyOwners(None, None, None), security, lambda _: None)
        reading = [spawn(log.run(), "server log"), spawn(security.run(), "security events")]

        async def record(detail: str) -> None:
            by_executor.append(detail)

        refused = list[tuple[str, str]]()
        executor = await server.bus("executor", on_violation=lambda kind, subject: refused.append((kind, subject)))
        own = OwnViolations(executor.journal, record, time.time)

        async def refuse(subject: str) -> None:
            before = len(refused)
            await executor.publish(subject, b"")
            await eventually(partial(one_more_refused, before))
            await own.take(*refused[-1], after=0)

        async def one_more_refused(before: int) -> bool:
            return len(refused) > before

        await refuse("writ.request.bot.Service_restart")
        assert by_executor == []
        for task in reading:
            task.cancel()
        await refuse("writ.request.bot.service_stop")
    assert by_executor == ["NATS does not permit this executor to publish to writ.request.bot.service_stop"]

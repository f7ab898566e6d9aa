"""What NATS refuses is read from its log, whatever clients write into it, and however the log is rotated."""

import asyncio
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_audit.server_log import follower
from writ_audit.server_log.follower import ServerLog
from writ_audit.server_log.key_owners import KeyOwners
from writ_audit.server_log.refusal import FailedLogin, Violation, refusal
from writ_audit.server_log.repeats import TOTAL_BURST, Refused, repeats
from writ_audit.server_log.tail import CHUNK, LONGEST_LINE, MOST_BEHIND, LogTail
from writ_bus.tasks import spawn
from writ_contracts import subjects
from writ_contracts.agents import SecurityKind
from writ_contracts.installation.account_names import account_owner
from writ_contracts.journal import SecurityEvent
from writ_contracts.wire import decode_event
from writ_nats_server.config import render
from writ_nats_server.process import ServerProcess
from writ_runtime.health import Attention, Detail
from writ_runtime.journal.security_events import SecurityEvents
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
def test_a_client_never_changes_whose_refusal_it_is(client: str, subject: str) -> None:
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


def test_log_is_read_from_its_end_through_rotation_and_truncation(tmp_path: Path) -> None:
    path = tmp_path / "nats.log"
    append(path, "before")
    tail = LogTail(path)
    assert tail.read() == ([], False)
    append(path, "one", "two")
    assert tail.read()[0] == ["one", "two"]
    with path.open("a") as log:
        log.write("ha")
    assert tail.read()[0] == []
    append(path, "lf")
    assert tail.read()[0] == ["half"]
    append(path, "last of the old")
    path.replace(tmp_path / "nats.log.1")
    append(path, "first of the new")
    assert [line for _ in range(3) for line in tail.read()[0]] == ["last of the old", "first of the new"]
    path.write_text("x\n")
    assert tail.read()[0] == ["x"]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        tail.read()
    append(path, "again")
    assert tail.read()[0] == ["again"]
    tail.close()


def test_line_that_was_begun_before_the_start_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "nats.log"
    path.write_text("[1] a quoted text of a client with ")
    tail = LogTail(path)
    tail.read()
    append(path, violation(), "next")
    assert tail.read()[0] == ["next"]
    tail.close()


def test_long_lines_and_long_backlogs_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "nats.log"
    path.touch()
    tail = LogTail(path)
    tail.read()
    append(path, "x" * (CHUNK + LONGEST_LINE), "short")
    lines = [line for _ in range(3) for line in tail.read()[0]]
    assert lines == ["short"]
    append(path, *["y" * 99] * (2 * MOST_BEHIND // 100), "end")
    read = 0
    while found := tail.read()[0]:
        assert set(found) <= {"y" * 99, "end"}
        read += len(found)
    assert read < 2 * CHUNK // 100
    assert tail.skipped > MOST_BEHIND
    tail.close()


def test_pipe_in_place_of_the_log_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "nats.log")
    with pytest.raises(OSError, match="no regular file"):
        LogTail(tmp_path / "nats.log").read()


def refused(sender: str) -> Refused:
    return Refused(kind="permission_violation", sender=sender, detail="x")


def test_repeats_of_a_sender_are_counted_in_its_next_event() -> None:
    state = repeats(0.0)
    assert sum(state.take(refused("a"), 0.0) is not None for _ in range(1_000)) == 5
    assert state.due(1.0) == []
    [late] = state.due(31.0)
    assert late.detail == "x; 994 more since the last event about this sender"
    assert state.due(100.0) == []


def test_senders_together_are_bounded() -> None:
    state = repeats(0.0)
    taken = [state.take(refused(str(number)), 0.0) for number in range(5_000)]
    assert sum(one is not None for one in taken) == TOTAL_BURST
    assert len(state.senders) <= 1_000


class Followed:
    """A log and who follows it."""

    def __init__(self, folder: Path) -> None:
        self.bus, self.path, self.config = MemoryBus(), folder / "nats.log", folder / "server.conf"
        self.principals = folder / "principals.yaml"
        self.path.touch()
        self.principals.write_text(f"principals:\n  - {{id: alice, kind: human, roles: [operator], key: {KEY}}}\n")
        self.counted = list[SecurityKind]()
        self.security = SecurityEvents(self.bus.journal, lambda: 1.0, lambda _: None)
        owners = KeyOwners(self.principals, None, self.config)
        self.log = ServerLog(self.path, owners, self.security, self.counted.append)

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
    monkeypatch.setattr(follower, "LOOK_EVERY", 0.01)
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


async def test_late_replies_of_services_are_no_violations(followed: Followed) -> None:
    late = [violation("_R_.a.b", "POLICY"), violation("_INBOX.x.y", "AGENT_ssh")]
    forged = violation("_INBOX.alice.y", "REQ_bot")
    await following(followed, lambda: append(followed.path, *late, forged))
    [event] = await followed.has("permission_violation", 1)
    assert "_INBOX.alice.y" in event.detail
    assert followed.counted == ["permission_violation"]


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


async def test_log_that_nats_rotates_itself_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "own.log"
    async with writ_server(tmp_path, principals=["bot"]) as server:
        await server.process.stop()
        server.config.write_text(f'{render(server.plan)}\nlog_file: "{path}"\nlogfile_size_limit: 20000\n')
        server.process = await ServerProcess.start(
            server.config, tmp_path / "stderr", port=server.plan.port, monitor_port=server.plan.monitor_port
        )
        tail, found = LogTail(path), list[str]()
        tail.read()
        bus = await server.bus("bot")

        async def has_read(number: int) -> bool:
            found.extend(one.subject for line in tail.read()[0] if isinstance(one := refusal(line), Violation))
            return len(found) >= number

        for number in range(400):
            await bus.publish(f"writ.request.alice.test_{number}", b"")
            if number % 20 == 19:
                await eventually(partial(has_read, number + 1))
        tail.close()
    assert found == [f"writ.request.alice.test_{number}" for number in range(400)]
    assert len([*tmp_path.glob("own.log.*")]) >= 2

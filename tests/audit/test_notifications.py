"""Notifications: contents, signatures, and delivery after a receiver returns."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.audit.history import History
from tests.audit.replica import replica

from writ_audit.metrics import metrics
from writ_audit.notifications.delivery import post
from writ_audit.notifications.limits import BURST
from writ_audit.notifications.messages import notification_of
from writ_audit.notifications.notifiers import BUILT_IN, AppriseOptions, NtfyOptions, signature
from writ_audit.notifications.settings import NotifiedDestination, read_notifications
from writ_bus.port import Entry
from writ_contracts import journal, subjects
from writ_contracts.errors import ConfigError
from writ_contracts.history.records import Record
from writ_contracts.notifications import KINDS, HttpRequest, Notification, Notifier
from writ_contracts.notifications import Receiver as Destined
from writ_contracts.wire import encode
from writ_runtime.health import Check
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus

SECRET = b"0123456789abcdef0123"
STAMP: dict[str, Any] = {"id": "e1", "at": 1_000.0, "correlation_id": "c"}
ID = "a" * 26


def control(kind: str, **body: Any) -> journal.ControlEvent:
    return journal.ControlEvent(
        **STAMP, kind=kind, principal="alice", operation_id=ID, body=body, decision=None, parameters_key=""
    )


def record(event: journal.JournalEvent, subject: str = "", headers: dict[str, str] | None = None) -> Record:
    kind = str(event.__struct_config__.tag)
    where = subject or subjects.operation_event("alice", ID, kind)
    return Record(subject=where, sequence=7, data=encode(event), headers=headers or {}, time=1_000.0)


WAITING = journal.AwaitingApproval(
    **STAMP,
    operation_id=ID,
    approvers=["bob"],
    quorum=1,
    requested_at=1.0,
    until=2.0,
    principal="alice",
    operation="service_restart",
    target="web-1",
    acts_for=None,
    demands=[],
)
SECURITY = journal.SecurityEvent(
    **STAMP, kind="forged_claim", detail="a claim of nobody", operation_id=None, principal=None, pool="p", report=None
)


@pytest.mark.parametrize(
    ("event", "subject", "kind", "title"),
    [
        (WAITING, "", "pending", "alice requests service_restart on web-1"),
        (
            journal.Finished(**STAMP, operation_id=ID, outcome="expired", code="not_approved"),
            "",
            "expired",
            "nobody approved it in time",
        ),
        (control("stop_set", reason="it burns"), subjects.control_event("stop_set"), "stop", "stop_set by alice"),
        (
            control("emergency_closed", how="lapsed"),
            subjects.control_event("emergency_closed"),
            "emergency",
            "emergency_closed by alice",
        ),
        (
            control("principal_manage"),
            subjects.control_event("principal_manage"),
            "principal",
            "principal_manage by alice",
        ),
        (SECURITY, subjects.security_event("forged_claim"), "security", "security: forged_claim"),
    ],
)
def test_notification_has_a_link(event: journal.JournalEvent, subject: str, kind: str, title: str) -> None:
    found = notification_of(record(event, subject), "https://writ.example/{operation_id}")
    assert found is not None
    assert (found.kind, found.title, found.id) == (kind, title, "e1")
    assert found.link == (f"https://writ.example/{ID}" if found.operation_id else "")


def test_no_notification_of_ordinary_ends_and_copied_control_events() -> None:
    done = journal.Finished(**STAMP, operation_id=ID, outcome="succeeded")
    assert notification_of(record(done)) is None
    copy = record(control("stop_set"), subjects.control_event("stop_set"), {"Writ-Carried-From": "3"})
    assert notification_of(copy) is None
    unreadable = Record(subject=subjects.control_event("stop_set"), sequence=1, data=b"{", headers={}, time=1.0)
    assert notification_of(unreadable) is None


def test_a_message_is_signed_with_its_time_so_that_it_cannot_be_replayed_later() -> None:
    found = notification_of(record(WAITING))
    assert found is not None
    made = BUILT_IN["webhook"].request(found, Destined("https://x", SECRET, None), 2_000.7)
    signed = f"{made.headers['Writ-Timestamp']}.".encode() + made.body
    expected = hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
    assert (made.headers["Writ-Timestamp"], made.headers["Writ-Signature"]) == ("2000", f"v1={expected}")
    assert signature(SECRET, "2001", made.body) != expected
    assert json.loads(made.body)["operation_id"] == ID


def test_ntfy_gets_json_so_that_no_text_becomes_a_header() -> None:
    found = notification_of(
        record(control("stop_set", reason="x\r\nActions: http"), subjects.control_event("stop_set"))
    )
    assert found is not None
    to = Destined("https://ntfy.example", b"tk_1", NtfyOptions(topic="writ"))
    made = BUILT_IN["ntfy"].request(found, to, 0.0)
    assert made.headers == {"Content-Type": "application/json", "Authorization": "Bearer tk_1"}
    sent = json.loads(made.body)
    assert (sent["topic"], sent["priority"], "actions" in sent) == ("writ", 4, False)


def test_apprise_gets_plain_text_for_the_services_with_a_tag() -> None:
    found = notification_of(record(control("stop_set", reason="# x"), subjects.control_event("stop_set")), "https://l")
    assert found is not None
    to = Destined("https://apprise.example/notify/writ", b"", AppriseOptions(tag="ops"))
    made = BUILT_IN["apprise"].request(found, to, 0.0)
    assert (made.url, made.headers) == (to.url, {"Content-Type": "application/json"})
    sent = json.loads(made.body)
    assert (sent["type"], sent["format"], sent["tag"]) == ("warning", "text", "ops")
    assert (sent["title"], sent["body"].splitlines()[-1]) == (found.title, found.link or found.text)


class Receiver(ThreadingHTTPServer):
    """A real receiver: replies with `statuses` in turn, then 200; with 503 if the body has `refused`."""

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.received = list(statuses), list[tuple[dict[str, str], bytes]]()
        self.paths = list[str]()
        self.refused: bytes | None = None
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        if self.server.refused is not None and self.server.refused in body:
            status = 503
        self.server.paths.append(self.path)
        if status == 200:
            self.server.received.append((dict(self.headers), body))
        self.send_response(status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def configured(folder: Path, url: str = "https://x", **more: Any) -> Path:
    secret, path = folder / "secret", folder / "notifications.yaml"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    destination = {"name": "ops", "kind": "webhook", "url": url, "secret_file": "secret"} | more
    path.write_text(json.dumps({"destinations": [destination]}))
    return path


def read(path: Path, **further: Notifier) -> tuple[list[NotifiedDestination], str]:
    return read_notifications(path, {**BUILT_IN, **further})


async def test_a_receiver_that_fails_gets_each_notification_once_it_takes_it_also_after_a_restart(
    tmp_path: Path, receiver: Receiver
) -> None:
    bus, measured = MemoryBus(Broker()), metrics()
    history = History(bus)
    await history.requested("alice", "before")
    receiver.statuses += [500, 302]
    file = configured(tmp_path, receiver.url)

    async def happens(kind: str) -> None:
        last = await bus.journal.last(subjects.control_event(kind))
        event = control(kind, reason=kind)
        where = subjects.control_event(kind)
        await bus.journal.append(
            Entry(subject=where, data=encode(event), event_id=kind, filter=where, expected=last.sequence if last else 0)
        )

    async def received(many: int) -> bool:
        return len(receiver.received) >= many

    async with replica(bus, tmp_path / "state", measured=measured, notifications=file) as audit:
        await eventually(lambda: exists(tmp_path / "state" / "notifications-ops.json"))
        await happens("stop_set")
        await eventually(lambda: received(1), within=20)
        await eventually(lambda: passes(audit.checks()["notifications"]))
    await happens("stop_lift")  # while nobody delivers
    async with replica(bus, tmp_path / "state", notifications=file):
        await eventually(lambda: received(2), within=20)
    headers, bodies = [one[0] for one in receiver.received], [json.loads(one[1]) for one in receiver.received]
    assert [body["text"] for body in bodies] == ["stop_set", "stop_lift"]
    signed = f"{headers[0]['Writ-Timestamp']}.".encode() + receiver.received[0][1]
    assert headers[0]["Writ-Signature"] == "v1=" + hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
    text = measured.exposition()[0].decode()
    assert 'writ_notifications_total{destination="ops",result="failed"} 2.0' in text
    assert 'writ_notifications_total{destination="ops",result="sent"} 1.0' in text


async def test_requests_of_one_principal_fill_no_inbox_and_delay_no_other_notification(
    tmp_path: Path, receiver: Receiver
) -> None:
    bus, file = MemoryBus(Broker()), configured(tmp_path, receiver.url)

    async def waits(principal: str, number: int) -> None:
        number_of = f"{number:026}"
        event = structs.replace(WAITING, id=f"{principal}{number}", principal=principal, operation_id=number_of)
        where = subjects.operation_event(principal, number_of, "awaiting_approval")
        await bus.journal.append(Entry(subject=where, data=encode(event), event_id=event.id, filter=where, expected=0))

    async def is_notified() -> bool:
        return any(b"alice requests" in body for _, body in receiver.received)

    async with replica(bus, tmp_path / "state", notifications=file):
        await eventually(lambda: exists(tmp_path / "state" / "notifications-ops.json"))
        for number in range(200):
            await waits("bob", number)
        await waits("alice", 200)
        await eventually(is_notified, within=20)
    by_bob = [body for _, body in receiver.received if b"bob requests" in body]
    assert BURST <= len(by_bob) < 2 * BURST


async def passes(check: Check) -> bool:
    return await check() is None


async def exists(path: Path) -> bool:
    return path.exists()


def test_a_redirect_is_not_followed_and_a_receiver_that_is_not_there_is_named(receiver: Receiver) -> None:
    receiver.statuses += [307]
    request = HttpRequest(url=receiver.url, headers={}, body=b"{}")
    assert post(request) == "HTTP 307"
    assert receiver.received == []
    assert post(HttpRequest(url="http://127.0.0.1:1/", headers={}, body=b"{}")).startswith("not reached")


def test_path_of_a_receiver_may_have_letters_beyond_ascii(receiver: Receiver) -> None:
    assert post(HttpRequest(url=f"{receiver.url}/größe%20x?für=ops&a=b c", headers={}, body=b"{}")) == ""
    assert receiver.paths == ["/hook/gr%C3%B6%C3%9Fe%20x?f%C3%BCr=ops&a=b%20c"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"url": "file:///etc/passwd"}, "http"),
        ({"url": "https://user:pw@x/"}, "password"),
        ({"secret_file": ""}, "secret_file"),
        ({"kind": "ntfy"}, "topic"),
        ({"kind": "ntfy", "with": {"topic": "writ", "buttons": []}}, "buttons"),
        ({"kind": "webhok"}, "no notifier 'webhok'; did you mean 'webhook'"),
        ({"events": ["everything"]}, "everything"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_destination_is_refused_with_its_place(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read(configured(tmp_path, **changed))


def test_a_short_or_open_secret_is_refused_and_all_kinds_are_the_default(tmp_path: Path) -> None:
    path = configured(tmp_path)
    [target], link = read(path)
    assert (target.destination.events, target.receiver.secret, link) == (list(KINDS), SECRET, "")
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(ConfigError, match="16 bytes"):
        read(path)
    (tmp_path / "secret").chmod(0o644)
    with pytest.raises(ConfigError, match="secret"):
        read(path)


def test_a_notifier_of_a_plugin_makes_the_request_and_cannot_send_it_elsewhere(tmp_path: Path) -> None:
    def by_link(one: Notification, to: Destined, _: float) -> HttpRequest:
        return HttpRequest(url=one.link or f"{to.url}/{one.kind}", headers={}, body=b"")

    path = configured(tmp_path, kind="router_log", secret_file="")
    [target], _ = read(path, router_log=Notifier(request=by_link, summary="by its link"))
    found = notification_of(record(WAITING), "https://elsewhere.example/{operation_id}")
    assert found is not None
    with pytest.raises(ConfigError, match="another host"):
        target.request(found, 0.0)
    unlinked = notification_of(record(WAITING))
    assert unlinked is not None
    assert target.request(unlinked, 0.0).url == "https://x/pending"


async def test_a_notifier_that_ends_the_program_is_a_problem_of_its_destination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(one: Notification, to: Destined, _: float) -> HttpRequest:
        raise SystemExit(2)

    notifiers = {"router_log": Notifier(request=leave, summary="leaves")}
    monkeypatch.setattr("writ_audit.service.load_notifiers", lambda: notifiers)
    bus, path = MemoryBus(Broker()), configured(tmp_path, kind="router_log")
    async with replica(bus, tmp_path / "state", notifications=path) as audit:
        await eventually(lambda: exists(tmp_path / "state" / "notifications-ops.json"))
        where = subjects.control_event("stop_set")
        event = Entry(subject=where, data=encode(control("stop_set")), event_id="1", filter=where, expected=0)
        await bus.journal.append(event)
        problem = await eventually(audit.checks()["notifications"])
    assert "no request could be made: SystemExit" in problem


def test_no_problem_of_a_destination_quotes_its_secret(receiver: Receiver) -> None:
    problem = post(HttpRequest(url=receiver.url, headers={"Authorization": "Bearer s3cret\nmore"}, body=b""))
    assert ("header" in problem, "s3cret" in problem) == (True, False)

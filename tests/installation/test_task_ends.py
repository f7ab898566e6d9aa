"""Supervisor and provisioner survive a defect of one task, or end as a whole."""

import asyncio
import os
from functools import partial
from pathlib import Path

import pytest
from tests.installation.test_child import killed, stand_in

from writ_bus import tasks
from writ_bus.port import Message
from writ_cli.installation.processes import provision
from writ_contracts import subjects
from writ_contracts.notices import Notice, NoticeReply
from writ_contracts.wire import decode, encode
from writ_installation.files.home import Home
from writ_installation.nats.server import BundledServer
from writ_installation.processes.child import Child
from writ_installation.provisioner import enrolment_endpoint
from writ_installation.provisioner.enrolment_endpoint import EnrolmentEndpoint
from writ_installation.provisioner.idle_sessions import IdleSessions
from writ_installation.provisioner.provisioner import Provisioner
from writ_installation.provisioner.reconciler import Rounds
from writ_installation.server_access.server_address import ServerAddress
from writ_runtime.journal.journal_notices import NoticeSender
from writ_testing.eventually import eventually
from writ_testing.injection import break_once
from writ_testing.installations.installation import prepare
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_testing.peers.nats_server import free_port
from writ_testing.suites.bus_fixture import SOON, service
from writ_trust.sessions import Session


async def test_provisioner_process_ends_with_its_permanent_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_once(monkeypatch, Provisioner, "follow")
    home = Home(tmp_path / "home")
    home.make_folders()
    config = provision.ProvisionerConfig(
        nats_url="nats://127.0.0.1:1", installation="", key_file=tmp_path, home=home.root, run_file=tmp_path / "run"
    )
    await provision._run(config)
    assert tasks.take_ended() == {"provisioner": 1}


async def test_child_is_kept_after_a_defect_of_its_watcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, messages = break_once(monkeypatch, Child, "_keep_running"), list[str]()

    async def kept_again() -> bool:
        return calls() == 2

    async with stand_in(tmp_path, messages.append) as child:
        await eventually(kept_again)
        await killed(child)
    assert tasks.take_ended() == {"keep audit": 1}
    assert messages[-1] == "audit is ready again"


async def test_nats_server_is_kept_after_a_defect_of_its_watcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_once(monkeypatch, BundledServer, "_keep_running")
    address = ServerAddress(host="127.0.0.1", port=free_port(), monitor_port=free_port())
    server = BundledServer(prepare(tmp_path), address, lambda _: None, os.environ)
    await server.start()
    first = server.pid
    assert first is not None

    async def started_again() -> bool:
        return server.state == "ready" and server.pid not in (None, first)

    os.kill(first, 9)
    try:
        await eventually(started_again)
    finally:
        await server.stop()
    assert tasks.take_ended()["keep nats"] == 1


async def test_enrolment_notices_are_sent_after_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = asyncio.Queue[Notice]()

    async def store(message: Message) -> bytes:
        stored.put_nowait(decode(message.data, Notice))
        return encode(NoticeReply(sequence=1))

    broker, notifier = Broker(), NoticeSender(subjects.NOTICE_PROVISIONER, lambda _: None)
    await MemoryBus(broker).serve(service("notices", subjects.NOTICE_PROVISIONER, store))
    break_once(monkeypatch, NoticeSender, "run")
    sending = tasks.keep("enrolment notices", partial(notifier.run, MemoryBus(broker)))
    notice = Notice(kind="agent_enrolled", detail="a key of pool a")
    notifier.queue(notice)
    assert await asyncio.wait_for(stored.get(), SOON) == notice
    sending.cancel()
    assert tasks.take_ended() == {"enrolment notices": 1}


async def test_idle_sessions_are_looked_for_after_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, looked = EnrolmentEndpoint(prepare(tmp_path), {}, Rounds()), asyncio.Event()

    def due(*_: object) -> list[Session]:
        looked.set()
        return []

    monkeypatch.setattr(IdleSessions, "due", due)
    monkeypatch.setattr(enrolment_endpoint, "IDLE_CHECK_SECONDS", 0.01)
    break_once(monkeypatch, EnrolmentEndpoint, "_end_idle_sessions")
    looking = tasks.keep("idle sessions", partial(endpoint._end_idle_sessions, "", MemoryBus(Broker())))
    await asyncio.wait_for(looked.wait(), SOON)
    looking.cancel()
    assert tasks.take_ended() == {"idle sessions": 1}

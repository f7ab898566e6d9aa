"""Audit ends with any of its permanent tasks. The tasks are read from its code."""

import asyncio
from pathlib import Path

import pytest
from tests.architecture.tree import ROOT, task_names
from tests.audit.history import POLICY

from writ_audit import index_follower, service
from writ_audit.config import AuditConfig
from writ_audit.metrics import metrics
from writ_audit.notifications import delivery
from writ_audit.service import Audit
from writ_bus import tasks
from writ_testing.injection import InjectedError, break_unending, throw_into
from writ_testing.memory.bus import MemoryBus

DESTINATIONS = """
destinations:
  - {name: chat, url: 'http://127.0.0.1:9/', kind: ntfy, with: {topic: t}}
"""
DELIVERY = "f'notifications to {one.name}'"
NAMES = sorted(task_names(ROOT / "services/audit", "unending"))


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    notifications = tmp_path / "notifications.yaml"
    notifications.write_text(DESTINATIONS)
    notifications.chmod(0o600)
    config = AuditConfig(
        nats_url="nats://127.0.0.1",
        installation="",
        key_file=tmp_path / "seed",
        policy_key=POLICY.public,
        state_dir=tmp_path,
        notifications=notifications,
    )
    return Audit(config, MemoryBus(), metrics())


async def ended(audit: Audit) -> list[Exception]:
    """Let audit work to its end; return the errors of that end."""
    await audit.serve()
    tasks.take_ended()
    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(audit.follow(), 10)
    await audit.stop()
    audit.close()
    return [error for error in ended.value.exceptions if isinstance(error, Exception)]


@pytest.mark.parametrize("name", [name for name in NAMES if name != DELIVERY])
async def test_audit_ends_with_any_of_its_permanent_tasks(
    audit: Audit, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    break_unending(monkeypatch, service, name)
    assert [type(error) for error in await ended(audit)] == [InjectedError]
    assert tasks.take_ended().keys() == {name}


async def test_audit_ends_with_the_delivery_to_any_destination(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    assert DELIVERY in NAMES
    break_unending(monkeypatch, delivery, "notifications to chat")
    [group] = await ended(audit)
    assert isinstance(group, ExceptionGroup)
    assert {type(error) for error in group.exceptions} == {InjectedError}  # of both tasks of the destination
    assert tasks.take_ended().keys() == {"notifications to chat", "notifications"}


@pytest.mark.parametrize("method", ["_watch", "_follow"])
async def test_audit_ends_with_either_half_of_its_index(
    audit: Audit, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    whole = getattr(index_follower.IndexFollower, method)
    monkeypatch.setattr(index_follower.IndexFollower, method, lambda self: throw_into(whole(self)))
    assert [type(error) for error in await ended(audit)] == [InjectedError]
    assert tasks.take_ended().keys() == {"index"}

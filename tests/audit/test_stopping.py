"""The process stops cleanly, even if its connection breaks at that moment."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from writ_audit import __main__ as process
from writ_audit.config import AuditConfig
from writ_bus.errors import Unreachable
from writ_testing.eventually import eventually
from writ_testing.memory.bus import MemoryBus
from writ_trust.keys import Key, generate_seed


class Breaking:
    """A journal whose connection breaks once, while a caller cancels a read."""

    def __init__(self, journal: Any) -> None:
        self._journal = journal
        self.reading = asyncio.Event()
        self.broke = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def read(self, *arguments: Any, **named: Any) -> Any:
        """Wait without an answer; a cancel ends as on a broken connection."""
        self.reading.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.broke:
                raise
            self.broke = True
            raise Unreachable("the connection broke") from None


async def test_audit_stops_although_its_connection_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bus, key, seed, run_file = MemoryBus(), Key(generate_seed()), tmp_path / "audit.seed", tmp_path / "run"
    breaking = Breaking(bus.journal)
    bus.journal = breaking  # type: ignore[assignment]
    seed.write_bytes(key.seed)
    seed.chmod(0o600)

    async def connected(*_: Any) -> MemoryBus:
        return bus

    monkeypatch.setattr(process, "connect_as", connected)
    config = AuditConfig(
        nats_url="nats://127.0.0.1",
        installation="",
        key_file=seed,
        policy_key=key.public,
        state_dir=tmp_path,
        run_file=run_file,
    )
    running = asyncio.create_task(process.main(config))
    await eventually(lambda: _exists(run_file), what="that it is ready")
    await asyncio.wait_for(breaking.reading.wait(), 30)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(running, 60)
    assert breaking.broke
    assert "service.stop_overran" not in caplog.messages


async def _exists(path: Path) -> bool:
    return path.exists()

"""A host with a fake container engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.agent_docker.engine_host import EngineHost

from writ_testing.fakes.docker_engine import fake_engine


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[EngineHost]:
    async with fake_engine(tmp_path / "engine.sock") as engine:
        made = EngineHost(tmp_path, engine)
        yield made
        await made.backend.close()

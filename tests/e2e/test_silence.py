"""A command that waits says who does not reply: NATS, an executor or policy; and it goes on when they do."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from writ_client.client import Writ
from writ_client.operations.operation_wait import POLL_SECONDS
from writ_testing.installations.extra_agents import POOL
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
AGAIN = "writ: replies come again"
NATS_HANGS = ("no answer yet from NATS at ", "does not reply; still waiting")
"""What a new connection says, and what one that is open says."""
TARGETS = ("web-1", "web-2", "web-3")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Yield an installation without an agent: an operation stays open."""
    folder = tmp_path_factory.mktemp("silence")
    targets = [{"id": name, "role": "development", "backend": "local", "agent": POOL} for name in TARGETS]
    home = prepare(folder, targets=targets)
    async with running_installation(folder, home=home, arguments=["--no-agent", POOL]) as running:
        yield running


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def ended_operations(writ: Writ) -> AsyncIterator[None]:
    """Cancel what a test leaves open: it holds the lock of its target."""
    yield
    await cancel_all(writ)


@asynccontextmanager
async def running_command(installation: RunningInstallation, *words: str) -> AsyncIterator[Process]:
    """Yield a running command that is ended with the block."""
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("writ")), *words),
        env={**os.environ, "WRIT_HOME": str(installation.home.root)},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(stream: asyncio.StreamReader | None, fits: Callable[[str], bool]) -> str:
    """Return the next line that fits."""
    assert stream is not None
    async with asyncio.timeout(60):
        while text := await stream.readline():
            if fits(text.decode()):
                return text.decode()
    raise AssertionError("the command ended")


async def cancel_all(writ: Writ) -> None:
    for operation in await writ.open_operations():
        await writ.cancel(operation.operation_id)


async def dispatched(writ: Writ, path: Path) -> str:
    answer = await writ.submit("test_count", "web-1", {"path": str(path)})
    assert answer.state == "dispatched"
    return answer.operation_id or ""


@pytest.mark.parametrize(
    ("words", "shown", "goes_on"),
    [
        (("op", "watch", "ID"), "dispatched", "cancelled"),
        (("op", "list", "--watch"), "test_count", "no operation is open"),
    ],
)
async def test_watching_command_says_that_nats_hangs_and_goes_on(
    installation: RunningInstallation,
    writ: Writ,
    files: Path,
    words: tuple[str, ...],
    shown: str,
    goes_on: str,
) -> None:
    operation_id = await dispatched(writ, files / "watched")
    words = tuple(operation_id if word == "ID" else word for word in words)
    async with running_command(installation, *words) as command:
        await line(command.stdout, lambda text: shown in text)
        with installation.paused("nats"):
            await line(command.stderr, lambda text: any(part in text for part in NATS_HANGS))
        await writ.cancel(operation_id)
        await line(command.stdout, lambda text: goes_on in text)


async def test_approvals_watch_says_that_nats_hangs_and_goes_on(installation: RunningInstallation) -> None:
    async with running_command(installation, "approvals", "watch") as command:
        with installation.paused("nats"):
            await line(command.stderr, lambda text: any(part in text for part in NATS_HANGS))
        assert command.returncode is None


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("executor", "writ: no executor replies, but NATS does; still waiting\n"),
        ("policy", "writ: no policy service replies, but NATS does; still waiting\n"),
    ],
)
async def test_run_says_which_service_does_not_reply_and_goes_on(
    installation: RunningInstallation, files: Path, service: str, said: str
) -> None:
    words = ("run", "test_count", "-t", "web-1", f"path={files / service}", "--no-wait")
    async with AsyncExitStack() as stack:
        stopped = stack.enter_context(ExitStack())
        stopped.enter_context(installation.paused(service))
        command = await stack.enter_async_context(running_command(installation, *words))
        assert await line(command.stderr, lambda text: text.startswith("writ: no ")) == said
        stopped.close()
        assert await line(command.stderr, lambda _: True) == f"{AGAIN}\n"
        assert await line(command.stdout, lambda text: "operation" in text)
        assert await command.wait() == 0


@pytest.mark.parametrize(
    ("service", "reported"),
    [
        ("nats", r"writ: NATS at \S+ does not reply; still waiting"),
        ("executor", "writ: no executor replies, but NATS does; still waiting"),
    ],
)
async def test_run_on_many_targets_reports_once_which_service_does_not_reply(
    installation: RunningInstallation, writ: Writ, files: Path, service: str, reported: str
) -> None:
    words = ("run", "test_count", "-t", "web-*", f"path={files / service}-many", "--correlation-id", f"many-{service}")
    async with running_command(installation, *words) as command:
        agent = await line(command.stderr, lambda _: True)
        assert agent == f"writ: waits for an agent of pool {POOL}: none is online\n"
        with installation.paused(service):
            assert re.fullmatch(reported, (await line(command.stderr, lambda _: True)).strip())
            with pytest.raises(TimeoutError):  # all targets ask again meanwhile
                await asyncio.wait_for(line(command.stderr, lambda _: True), 3 * POLL_SECONDS)
        assert await line(command.stderr, lambda _: True) == f"{AGAIN}\n"
        await cancel_all(writ)
        assert "3 cancelled" in await line(command.stdout, lambda text: "targets:" in text)
        assert command.stderr is not None
        assert await command.stderr.read() == b""

"""The Docker agent as a process: secrets, arbitrary texts, and kill -9 at its steps."""

import asyncio
import base64
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.agent_docker.crash_cases import made_by
from tests.hostops.test_injection import CORPUS

from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.eventually import eventually
from writ_testing.fakes.docker_engine import FakeEngine, Kind, fake_engine
from writ_testing.installations.agent_processes import AgentInstallation, agent_installation
from writ_testing.search import containing, files

SECRET = "planted-71c2ab9d"


class Installation(NamedTuple):
    """An agent of pool `docker`, and its engine."""

    whole: AgentInstallation
    engine: FakeEngine
    target: Target


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "box").touch()
    (tmp_path / "registries").mkdir()
    (tmp_path / "registries" / "example.org").write_text(f"me:{SECRET}")
    (tmp_path / "registries" / "example.org").chmod(0o600)
    environ = {
        "WRIT_DOCKER_CREDENTIALS": str(tmp_path / "credentials"),
        "WRIT_DOCKER_REGISTRIES": str(tmp_path / "registries"),
    }
    async with fake_engine(tmp_path / "engine.sock") as engine:
        connection = {"socket": str(engine.socket)}
        target = Target(id="box", role="testing", backend="docker", connection=connection)
        async with agent_installation(tmp_path, "writ_agent_docker", ["docker"], environ) as whole:
            yield Installation(whole, engine, target)


async def test_a_secret_is_found_in_no_log_spool_state_or_message(installation: Installation) -> None:
    agent = await installation.whole.agent("docker", WRIT_LOG_LEVEL="debug")
    executor, engine = installation.whole.executor, installation.engine
    parameters: dict[str, Any] = {"image": "box:1", "env": {"A": SECRET}, "command": [SECRET], "labels": {"l": SECRET}}
    operation_id = await executor.dispatch("container_create", installation.target, container_name="web", **parameters)
    assert (await executor.ended(operation_id)).outcome == "succeeded"
    assert engine.named("web") is not None
    engine.fail("POST", "/containers/create", 500, message=f'exec: "{SECRET}": not found')
    operation_id = await executor.dispatch("container_create", installation.target, container_name="two", **parameters)
    receipt = await executor.ended(operation_id)
    assert (receipt.outcome, receipt.message) == ("failed", 'the engine answers: exec: "<secret>": not found')
    shown = await executor.ended(
        await executor.dispatch("container_inspect", installation.target, container_name="web")
    )
    assert SECRET not in str(shown.state)
    pulled = await executor.dispatch(
        "container_create", installation.target, container_name="pulled", image="example.org/a:1"
    )
    assert "manifest" in (await executor.ended(pulled)).message
    assert SECRET.encode() in base64.urlsafe_b64decode(engine.auths[-1])
    await agent.stop()
    assert SECRET.encode() not in agent.log
    assert containing(files(installation.whole.folder / "state-docker"), SECRET) == []


async def test_any_text_arrives_as_that_one_value(installation: Installation) -> None:
    await installation.whole.agent("docker")
    executor, arrived = installation.whole.executor, 0
    for number, text in enumerate(CORPUS.values()):
        name = f"c{number}"
        parameters: dict[str, Any] = {
            "image": "box:1",
            "env": {"A": text},
            "command": [text],
            "labels": {"l": text},
            "container_name": name,
        }
        if "\ud800" in text or not fits(parameters):
            continue  # what is no Unicode has no bytes to be sent as
        operation_id = await executor.dispatch("container_create", installation.target, start=False, **parameters)
        assert (await executor.ended(operation_id)).outcome == "succeeded"
        config = (installation.engine.named(name) or {})["Config"]
        assert (config["Env"], config["Cmd"], config["Labels"]["l"]) == ([f"A={text}"], [text], text)
        arrived += 1
    assert arrived > 20


@pytest.mark.parametrize(
    ("moment", "outcome", "made"),
    [("agent.intent", "unknown", 0), ("agent.ran", "unknown", 1), ("agent.receipt_spooled", "succeeded", 1)],
)
async def test_outcome_is_true_after_an_agent_killed_at(
    moment: str, outcome: str, made: int, installation: Installation, tmp_path: Path
) -> None:
    once = {"WRIT_FAULT": moment, "WRIT_FAULT_ONCE": str(tmp_path / "once")}
    first = await installation.whole.agent("docker", **once)
    executor = installation.whole.executor
    parameters: dict[str, Any] = {"container_name": "web", "image": "box:1"}
    operation_id = await executor.dispatch("container_create", installation.target, **parameters)
    assert await first.ended() == -9
    await installation.whole.agent("docker", **once)
    assert (await executor.ended(operation_id)).outcome == outcome
    labels = [one["Config"]["Labels"] for one in installation.engine.containers.values()]
    assert labels == [{"io.writops.operation": operation_id}] * made


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("moment", "outcome", "image"),
    [
        ("agent.intent", "unknown", "box:1"),
        ("agent.ran", "unknown", "box:2"),
        ("agent.receipt_spooled", "succeeded", "box:2"),
    ],
)
async def test_outcome_is_true_after_an_agent_killed_in_an_update_at(
    moment: str, outcome: str, image: str, installation: Installation, tmp_path: Path
) -> None:
    installation.engine.add_image("box:2")
    installation.engine.put("web", running=True)
    once = {"WRIT_FAULT": moment, "WRIT_FAULT_ONCE": str(tmp_path / "once")}
    first = await installation.whole.agent("docker", **once)
    executor = installation.whole.executor
    parameters: dict[str, Any] = {"container_name": "web", "image": "box:2"}
    operation_id = await executor.dispatch("container_update", installation.target, **parameters)
    assert await first.ended() == -9
    await installation.whole.agent("docker", **once)
    assert (await executor.ended(operation_id)).outcome == outcome
    (one,) = installation.engine.containers.values()
    assert (one["Name"], one["Config"]["Image"], one["State"]["Running"]) == ("/web", image, True)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["hang", "act_and_hang"])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6])
async def test_outcome_is_true_after_an_engine_killed_at_each_request_of_an_update(
    installation: Installation, number: int, kind: Kind
) -> None:
    engine, executor = installation.engine, installation.whole.executor
    engine.add_image("box:2")
    former = engine.put("web", running=True)["Id"]
    engine.breaks = (number, kind)
    first = await installation.whole.agent("docker")
    parameters: dict[str, Any] = {"container_name": "web", "image": "box:2"}
    operation_id = await executor.dispatch("container_update", installation.target, **parameters)
    async with asyncio.timeout(30):
        await engine.broken.wait()
    await first.stop(signal.SIGKILL)
    await installation.whole.agent("docker")
    receipt = await executor.ended(operation_id)
    assert (receipt.outcome, receipt.effect) == ("unknown", "maybe")
    created = [one["Id"] for one in made_by(engine, operation_id)]
    acted = number > 1 or kind == "act_and_hang"
    assert len(created) == acted
    removed = (number, kind) == (6, "act_and_hang")
    assert engine.containers.keys() == {*created, *([] if removed else [former])}


async def test_killed_while_the_engine_pulls_nothing_is_left(installation: Installation) -> None:
    first = await installation.whole.agent("docker")
    executor = installation.whole.executor
    parameters: dict[str, Any] = {"container_name": "web", "image": "slow:1"}
    operation_id = await executor.dispatch("container_create", installation.target, **parameters)
    await executor.until(lambda: bool(executor.progress))
    first.process.kill()
    await first.ended()
    await installation.whole.agent("docker")
    receipt = await executor.ended(operation_id)
    assert (receipt.outcome, receipt.effect) == ("unknown", "maybe")
    await eventually(lambda: _no_pulls(installation.engine))
    assert installation.engine.containers == {}


async def _no_pulls(engine: FakeEngine) -> bool:
    return not engine.pulls


def fits(parameters: dict[str, Any]) -> bool:
    """Return true if the catalogue accepts the text. It refuses a NUL and texts without an end."""
    try:
        load_catalogue()["container_create"].check(parameters)
    except Invalid:
        return False
    return True

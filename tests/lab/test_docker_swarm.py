"""Stacks on a swarm manager: a real dockerd makes a swarm of itself, and leaves it again."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.lab.docker_host import BOX, DockerHost, docker_host
from tests.lab.engine import Engine

from writ_agent.backends.port import TaskResult
from writ_contracts.errors import WritError
from writ_contracts.ids import encode_id

pytestmark = pytest.mark.lab
TWO = (
    f"services:\n  web: {{image: '{BOX}', scale: 2, volumes: ['kept:/kept']}}\n  db: {{image: '{BOX}'}}\n"
    "volumes: {kept: }\n"
)


@pytest.fixture(scope="module")
def manager(engine: Engine) -> Iterator[Engine]:
    engine.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    yield engine
    engine.docker("swarm", "leave", "--force")


@pytest.fixture
async def host(manager: Engine, tmp_path: Path) -> AsyncIterator[DockerHost]:
    async with docker_host(tmp_path, manager) as made:
        yield made


async def run(host: DockerHost, verb: str, verdict: str = "", **given: Any) -> TaskResult:
    """Run it with its baseline and preview before, and its probe afterwards."""
    asked = replace(host.task(f"stack_{verb}", encode_id(os.urandom(16)), stack_name="shop", **given), timeout=90.0)
    asked = replace(asked, baseline=await host.backend.baseline(asked))
    await host.backend.preview(asked)
    done = await host.backend.run(asked, print)
    if verdict:
        assert (await host.backend.probe(asked, asked.baseline)).verdict == verdict, done
    return done


async def test_stack_is_deployed_updated_shown_and_removed(host: DockerHost) -> None:
    with pytest.raises(WritError) as refused:
        await run(host, "update", compose=TWO)
    assert refused.value.code == "stack_not_found"
    done = await run(host, "deploy", "took_effect", compose=TWO)
    assert (done.outcome, done.output["services"]) == ("succeeded", {"db": "1/1 running", "web": "2/2 running"}), done
    assert await host.backend.listing(host.target, "list_stacks") == ["shop"]
    done = await run(host, "update", "took_effect", compose=TWO.replace("scale: 2", "scale: 1, hostname: other"))
    assert (done.outcome, done.output["services"]["web"]) == ("succeeded", "1/1 running"), done
    status = await host.run("stack_status", encode_id(os.urandom(16)), stack_name="shop")
    assert (status.output["containers"], status.output["images"]["web"]) == (2, [BOX])
    done = await run(host, "remove", "took_effect", volumes=True)
    assert (done.outcome, done.output["volumes"]) == ("succeeded", ["shop_kept"]), done
    assert host.engine.docker("network", "ls", "--quiet", "--filter", "label=com.docker.stack.namespace=shop") == ""
    assert (await run(host, "deploy", "took_effect", compose=TWO)).outcome == "succeeded"
    assert (await run(host, "remove", "took_effect")).outcome == "succeeded"


async def test_failure_names_services_that_are_up(host: DockerHost) -> None:
    text = TWO.replace(f"db: {{image: '{BOX}'", f"db: {{image: '{BOX}', command: [sh, -c, 'exit 7']")
    done = await run(host, "deploy", "unknown", compose=text)
    assert (done.outcome, done.code, done.effect) == ("failed", "stack_not_up", "done")
    assert done.message == "up: web; not up: db (0/1 running, failed with 7)"
    assert (await run(host, "remove", "took_effect")).outcome == "succeeded"

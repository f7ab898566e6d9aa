"""Stacks on a real dockerd with Compose: deployed, updated, half failed, removed, and values as they were given."""

import os
from collections.abc import AsyncIterator
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
CANARY = "c4nary-s3cret"


@pytest.fixture
async def host(engine: Engine, tmp_path: Path) -> AsyncIterator[DockerHost]:
    async with docker_host(tmp_path, engine) as made:
        made.target = replace(made.target, stack_dir=str(tmp_path / "stacks"))
        (tmp_path / "stacks").mkdir()
        yield made


async def apply(host: DockerHost, text: str, verb: str = "deploy", **given: Any) -> TaskResult:
    return await host.run(f"stack_{verb}", encode_id(os.urandom(16)), stack_name="shop", compose=text, **given)


FIVE = (
    "services:\n"
    + "".join(f"  s{n}: {{image: '{BOX}', networks: [back]}}\n" for n in range(5))
    + "networks: {back: }\n"
)


async def test_five_services_are_up_and_an_update_recreates_only_what_differs(host: DockerHost) -> None:
    done = await apply(host, FIVE)
    assert (done.outcome, done.output["services"]) == ("succeeded", {f"s{n}": "running" for n in range(5)})
    before = {n: host.shown(f"shop-s{n}-1")["Id"] for n in range(5)}
    done = await apply(host, FIVE.replace("s3: {", "s3: {hostname: other, "), verb="update")
    assert done.outcome == "succeeded"
    assert [n for n in range(5) if host.shown(f"shop-s{n}-1")["Id"] != before[n]] == [3]
    preview = await host.backend.preview(
        host.task("stack_update", encode_id(os.urandom(16)), stack_name="shop", compose=FIVE.replace("  s4", "  s9"))
    )
    assert preview["changes"]["s4"] == "is removed"
    assert preview["changes"]["s9"].startswith("is created")


async def test_a_partial_failure_says_what_is_up_and_what_is_not(host: DockerHost) -> None:
    text = f"services:\n  good: {{image: '{BOX}'}}\n  bad: {{image: '{BOX}', command: [sh, -c, 'exit 7']}}\n"
    done = await apply(host, text)
    assert (done.outcome, done.code, done.effect) == ("failed", "stack_not_up", "done")
    assert done.message == "up: good; not up: bad (exited with 7)"


async def test_a_one_shot_that_ends_well_is_no_failure(host: DockerHost) -> None:
    text = f"services:\n  app: {{image: '{BOX}'}}\n  migrate: {{image: '{BOX}', command: ['true']}}\n"
    done = await apply(host, text)
    assert (done.outcome, done.output["services"]) == ("succeeded", {"app": "running", "migrate": "exited"})


async def test_an_image_that_nobody_has_fails_with_the_words_of_compose_as_secret_output(host: DockerHost) -> None:
    done = await apply(host, "services: {web: {image: '127.0.0.1:1/none:1'}}")
    assert (done.outcome, done.code) == ("failed", "stack_not_up")
    assert "127.0.0.1:1" in done.output["log"]
    assert "status" in done.message


async def test_values_arrive_as_they_are_and_nothing_of_the_agents_environment_does(
    host: DockerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_ONLY", "leaked")
    text = (
        f"services:\n  web:\n    image: '{BOX}'\n"
        '    environment: {A: "${PASSWORD}", B: "$$AGENT_ONLY $${AGENT_ONLY}", C: "$${PASSWORD:-x}"}\n'
        '    labels: {l: "${PASSWORD}"}\n    command: [sh, -c, "sleep 100", "$$(touch /tmp/x) `id`"]\n'
    )
    password = CANARY + '$AGENT_ONLY ${HOME} $$ "\n- x: y'
    done = await apply(host, text, env={"PASSWORD": password})
    assert done.outcome == "succeeded", (done.message, done.output["log"])
    config = host.shown("shop-web-1")["Config"]
    assert set(config["Env"]) == {f"A={password}", "B=$AGENT_ONLY ${AGENT_ONLY}", "C=${PASSWORD:-x}"}
    assert config["Cmd"] == ["sh", "-c", "sleep 100", "$(touch /tmp/x) `id`"]
    assert config["Labels"]["l"] == password
    public = [done.message, done.state, {**done.output, "log": ""}]
    assert CANARY not in str(public)


async def test_a_file_of_the_stack_dir_is_deployed_and_a_link_out_of_it_is_not(host: DockerHost) -> None:
    folder = Path(str(host.target.stack_dir))
    (folder / "shop.yaml").write_text(FIVE)
    (folder / "link.yaml").symlink_to("/etc/passwd")
    identity = encode_id(os.urandom(16))
    assert (await host.run("stack_deploy", identity, stack_name="shop", source="shop.yaml")).outcome == "succeeded"
    with pytest.raises(WritError) as refused:
        await host.run("stack_deploy", identity, stack_name="shop", source="link.yaml")
    assert refused.value.code == "compose_refused"
    assert await host.backend.listing(host.target, "list_stacks") == ["shop"]


async def test_a_breakout_without_its_flag_starts_nothing(host: DockerHost) -> None:
    with pytest.raises(WritError) as refused:
        await apply(host, f"services: {{web: {{image: '{BOX}', privileged: true}}}}")
    assert refused.value.code == "breakout_refused"
    assert host.shown("shop-web-1") == {}
    done = await apply(host, f"services: {{web: {{image: '{BOX}', privileged: true}}}}", allow_privileged=True)
    assert done.outcome == "succeeded"
    assert host.shown("shop-web-1")["HostConfig"]["Privileged"] is True


async def test_an_update_of_no_stack_is_refused(host: DockerHost) -> None:
    with pytest.raises(WritError) as refused:
        await apply(host, FIVE, verb="update")
    assert refused.value.code == "stack_not_found"


@pytest.mark.parametrize("volumes", [False, True])
async def test_volumes_are_removed_only_when_the_request_says_so(host: DockerHost, volumes: bool) -> None:
    text = f"services: {{web: {{image: '{BOX}', volumes: ['data:/data', '/scratch']}}}}\nvolumes: {{data: }}"
    assert (await apply(host, text)).outcome == "succeeded"
    mounts = {one["Destination"]: one["Name"] for one in host.shown("shop-web-1")["Mounts"]}
    identity = encode_id(os.urandom(16))
    done = await host.run("stack_remove", identity, stack_name="shop", volumes=volumes)
    assert (done.outcome, done.output["volumes"]) == ("succeeded", ["shop_data"] if volumes else [])
    assert done.output["kept_volumes"] == sorted(mounts.values() if not volumes else [mounts["/scratch"]])
    left = set(host.engine.docker("volume", "ls", "--quiet").split())
    assert left & set(mounts.values()) == set(done.output["kept_volumes"])
    assert "shop" not in host.engine.docker("network", "ls")
    again = await host.run("stack_remove", identity, stack_name="shop")
    assert (again.outcome, again.effect) == ("succeeded", "none")


@pytest.mark.parametrize("kind", ["volume", "network"])
async def test_object_of_another_stack_is_not_used_by_a_matching_name(host: DockerHost, kind: str) -> None:
    """Volume `prod_db` of stack `shop` has the name of volume `db` of stack `shop_prod`."""
    host.engine.docker(kind, "create", "--label", "com.docker.compose.project=shop_prod", "shop_prod_db")
    used = "volumes: ['prod_db:/data']" if kind == "volume" else "networks: [prod_db]"
    text = f"services: {{web: {{image: '{BOX}', {used}}}}}\n{kind}s: {{prod_db: }}"
    with pytest.raises(WritError) as refused:
        await apply(host, text)
    assert (refused.value.code, "shop_prod_db" in str(refused.value)) == ("compose_refused", True)
    assert host.engine.docker("ps", "--all", "--quiet") == ""

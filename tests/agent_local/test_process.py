"""The local agent as the process that it is."""

import asyncio
import json
import re
import signal
from pathlib import Path
from urllib.request import urlopen

from msgspec import structs
from tests.agent_local.conftest import House

from writ_agent.backends.processes import living
from writ_contracts.agents import Claim
from writ_testing.eventually import eventually
from writ_testing.search import containing, files
from writ_trust.statements import read


async def test_a_file_is_written_and_the_receipt_tells_its_digest(house: House) -> None:
    await house.agent()
    path = house.folder / "root" / "motd"
    operation_id = await house.executor.dispatch("file_write", house.target(), file_path=str(path), content="hello\n")
    receipt = await house.executor.ended(operation_id)
    assert (receipt.outcome, receipt.effect) == ("succeeded", "done")
    assert path.read_text() == "hello\n"
    baseline = read(house.executor.asked[operation_id].claims[0], Claim).baseline
    assert baseline


async def test_agents_of_two_pools_never_get_each_others_work(house: House) -> None:
    await house.agent("local-a")
    await house.agent("local-b")
    ids = {
        pool: [await house.executor.dispatch("test_noop", house.target(pool)) for _ in range(10)]
        for pool in ("local-a", "local-b")
    }
    for pool, own in ids.items():
        for operation_id in own:
            assert (await house.executor.ended(operation_id)).pool == pool
            assert read(house.executor.asked[operation_id].claims[0], Claim).pool == pool


async def test_a_target_over_ssh_is_never_worked_on_here(house: House) -> None:
    await house.agent()
    target = structs.replace(house.target(), backend="ssh", connection={"host": "127.0.0.1", "user": "root"})
    counted = house.folder / "root" / "counted"
    operation_id = await house.executor.dispatch("test_count", target, path=str(counted))
    receipt = await house.executor.ended(operation_id)
    assert (receipt.outcome, receipt.code, receipt.effect) == ("failed", "unsupported", "none")
    assert not counted.exists()


async def test_an_agent_with_the_key_of_one_pool_cannot_work_for_another(house: House) -> None:
    house.server.keys["agent-local-b"] = house.server.keys["agent-local-a"]
    starting = asyncio.create_task(house.agent("local-b"))
    operation_id = await house.executor.dispatch("test_noop", house.target("local-b"))
    await asyncio.wait({starting}, timeout=4)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert house.executor.asked[operation_id].claims == []


async def test_a_cancel_ends_a_whole_tree_of_stubborn_processes(house: House) -> None:
    await house.agent()
    operation_id = await house.executor.dispatch("test_sleep", house.target(), processes=4, stubborn=True)
    await house.executor.until(lambda: bool(house.executor.progress))
    await eventually(lambda: _many(operation_id, 4))
    assert (await house.executor.cancel(operation_id)).result == "stopped"
    assert living(operation_id) == []
    assert (await house.executor.ended(operation_id)).over


async def test_a_timeout_ends_them_too(house: House) -> None:
    await house.agent()
    operation_id = await house.executor.dispatch("test_sleep", house.target(), stubborn=True, timeout=1)
    receipt = await house.executor.ended(operation_id)
    assert (receipt.code, receipt.over) == ("timeout", True)
    assert living(operation_id) == []


async def test_an_orderly_stop_leaves_nothing_and_exits_with_0(house: House) -> None:
    agent = await house.agent()
    operation_id = await house.executor.dispatch("test_sleep", house.target(), stubborn=True)
    await house.executor.until(lambda: bool(house.executor.progress))
    assert await agent.stop(signal.SIGTERM) == 0
    assert living(operation_id) == []
    assert (await house.executor.ended(operation_id)).code == "agent_stopped"
    await house.executor.until(lambda: house.executor.heartbeats[-1].leaving)


async def test_a_second_process_on_the_same_state_refuses(house: House) -> None:
    await house.agent()
    second = await house.house.process("local-a")
    _, log = await asyncio.wait_for(second.communicate(), 20)
    assert second.returncode == 1
    assert b"in use by another agent" in log


async def test_it_says_how_it_is_and_what_it_did(house: House) -> None:
    run_file = house.folder / "run.json"
    await house.agent(WRIT_RUN_FILE=str(run_file))
    await house.executor.ended(await house.executor.dispatch("test_noop", house.target()))
    port = json.loads(run_file.read_text())["health_port"]
    ready = json.loads(await _get(port, "readyz"))
    checks = ("bus", "spool", "local", "clock", "targets")
    assert (ready["status"], ready["checks"]) == ("ready", dict.fromkeys(checks, "ok"))
    assert re.fullmatch(r"\d+ ms (behind|ahead of) the NATS server's", ready["details"]["clock"])
    wanted = ('writ_agent_operations_total{operation="test_noop",outcome="succeeded"} 1.0', "writ_agent_free_slots 8.0")

    async def counted() -> bool:  # once the receipt is on its way
        metrics = (await _get(port, "metrics")).decode()
        return all(line in metrics for line in wanted)

    await eventually(counted)


async def test_a_secret_is_found_in_no_log_spool_or_environment(house: House, tmp_path: Path) -> None:
    agent = await house.agent(WRIT_LOG_LEVEL="debug")
    secret = "planted-2f9c8e1b"
    await house.executor.ended(await house.executor.dispatch("test_secret", house.target(), secret=secret))
    path = house.folder / "root" / "s"
    await house.executor.ended(
        await house.executor.dispatch("file_write", house.target(), file_path=str(path), content=secret)
    )
    await agent.stop()
    assert secret.encode() not in agent.log
    assert containing(files(house.folder / "state-local-a"), secret) == []


async def _many(operation_id: str, wanted: int) -> bool:
    return len(living(operation_id)) >= wanted


async def _get(port: int, path: str) -> bytes:
    def fetch() -> bytes:
        with urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as response:
            return bytes(response.read())

    return await asyncio.to_thread(fetch)


async def test_a_path_outside_the_roots_is_refused_on_the_host_and_reported(house: House) -> None:
    await house.agent()
    (house.folder / "root").mkdir()
    (house.folder / "root" / "way-out").symlink_to("/etc")
    path = f"{house.folder}/root/way-out/passwd"
    operation_id = await house.executor.dispatch("file_read", house.target(), file_path=path)
    receipt = await house.executor.ended(operation_id)
    assert (receipt.outcome, receipt.code, receipt.effect) == ("failed", "outside_roots", "none")
    await house.executor.until(lambda: [report.kind for report in house.executor.reports] == ["path_escape"])

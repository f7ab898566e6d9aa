"""The local agent as a process."""

import asyncio
import json
import re
import signal
from pathlib import Path
from urllib.request import urlopen

from msgspec import structs
from tests.agent_local.conftest import Installation

from writ_agent.backends.processes import living
from writ_contracts.agents import Claim
from writ_testing.eventually import eventually
from writ_testing.peers.tcp_proxy import tcp_proxy
from writ_testing.search import containing, files
from writ_trust.statements import read


async def test_a_file_is_written_and_the_receipt_shows_its_digest(installation: Installation) -> None:
    await installation.agent()
    path = installation.folder / "root" / "motd"
    operation_id = await installation.executor.dispatch(
        "file_write", installation.target(), file_path=str(path), content="hello\n"
    )
    receipt = await installation.executor.ended(operation_id)
    assert (receipt.outcome, receipt.effect) == ("succeeded", "done")
    assert path.read_text() == "hello\n"
    baseline = read(installation.executor.operations[operation_id].claims[0], Claim).baseline
    assert baseline


async def test_agents_of_two_pools_never_get_each_others_work(installation: Installation) -> None:
    await installation.agent("local-a")
    await installation.agent("local-b")
    ids = {
        pool: [await installation.executor.dispatch("test_noop", installation.target(pool)) for _ in range(10)]
        for pool in ("local-a", "local-b")
    }
    for pool, own in ids.items():
        for operation_id in own:
            assert (await installation.executor.ended(operation_id)).pool == pool
            assert read(installation.executor.operations[operation_id].claims[0], Claim).pool == pool


async def test_a_target_over_ssh_is_never_worked_on_here(installation: Installation) -> None:
    await installation.agent()
    target = structs.replace(installation.target(), backend="ssh", connection={"host": "127.0.0.1", "user": "root"})
    counted = installation.folder / "root" / "counted"
    operation_id = await installation.executor.dispatch("test_count", target, path=str(counted))
    receipt = await installation.executor.ended(operation_id)
    assert (receipt.outcome, receipt.code, receipt.effect) == ("failed", "unsupported", "none")
    assert not counted.exists()


async def test_an_agent_with_the_key_of_one_pool_cannot_work_for_another(installation: Installation) -> None:
    installation.server.keys["agent-local-b"] = installation.server.keys["agent-local-a"]
    starting = asyncio.create_task(installation.agent("local-b"))
    operation_id = await installation.executor.dispatch("test_noop", installation.target("local-b"))
    await asyncio.wait({starting}, timeout=4)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert installation.executor.operations[operation_id].claims == []


async def test_a_cancel_ends_a_whole_tree_of_stubborn_processes(installation: Installation) -> None:
    await installation.agent()
    operation_id = await installation.executor.dispatch("test_sleep", installation.target(), processes=4, stubborn=True)
    await installation.executor.until(lambda: bool(installation.executor.progress))
    await eventually(lambda: _many(operation_id, 4))
    assert (await installation.executor.cancel(operation_id)).result == "stopped"
    assert living(operation_id) == []
    assert (await installation.executor.ended(operation_id)).over


async def test_timeout_ends_stubborn_processes(installation: Installation) -> None:
    await installation.agent()
    operation_id = await installation.executor.dispatch("test_sleep", installation.target(), stubborn=True, timeout=1)
    receipt = await installation.executor.ended(operation_id)
    assert (receipt.code, receipt.over) == ("timeout", True)
    assert living(operation_id) == []


async def test_an_orderly_stop_leaves_nothing_and_exits_with_0(installation: Installation) -> None:
    agent = await installation.agent()
    operation_id = await installation.executor.dispatch("test_sleep", installation.target(), stubborn=True)
    await installation.executor.until(lambda: bool(installation.executor.progress))
    assert await agent.stop(signal.SIGTERM) == 0
    assert living(operation_id) == []
    assert (await installation.executor.ended(operation_id)).code == "agent_stopped"
    await installation.executor.until(lambda: installation.executor.heartbeats[-1].leaving)


async def test_agent_ends_when_nats_closes_its_connection_for_good(installation: Installation) -> None:
    """nats-py does not reconnect after such an error: the agent would be deaf for ever."""
    async with tcp_proxy(int(installation.server.url.rpartition(":")[2])) as proxy:
        agent = await installation.agent("local-a", NATS_URL=f"nats://127.0.0.1:{proxy.port}")
        proxy.inject(b"-ERR 'Parser Error'\r\n")
        assert await agent.ended() == 0  # in order: operations have their grace, and its supervisor starts it again
    assert b"NATS ended the connection for good" in agent.log


async def test_a_second_process_on_the_same_state_refuses(installation: Installation) -> None:
    await installation.agent()
    second = await installation.installation.process("local-a")
    assert await second.ended() == 1
    assert b"in use by another agent" in second.log


async def test_agent_reports_its_health_and_its_operations(installation: Installation) -> None:
    run_file = installation.folder / "run.json"
    await installation.agent(WRIT_RUN_FILE=str(run_file))
    await installation.executor.ended(await installation.executor.dispatch("test_noop", installation.target()))
    port = json.loads(run_file.read_text())["health_port"]
    ready = json.loads(await _get(port, "readyz"))
    checks = ("bus", "spool", "local", "clock", "threads", "targets")
    assert (ready["status"], ready["checks"]) == ("ready", dict.fromkeys(checks, "ok"))
    assert re.fullmatch(r"(within 1 ms of|[\d.e-]+ m?s (behind|ahead of)) the NATS server's", ready["details"]["clock"])
    count = ('writ_agent_operations_total{operation="test_noop",outcome="succeeded"} 1.0', "writ_agent_free_slots 8.0")

    async def counted() -> bool:  # once the receipt is on its way
        metrics = (await _get(port, "metrics")).decode()
        return all(line in metrics for line in count)

    await eventually(counted)


async def test_a_secret_is_found_in_no_log_spool_or_environment(installation: Installation, tmp_path: Path) -> None:
    agent = await installation.agent(WRIT_LOG_LEVEL="debug")
    secret = "planted-2f9c8e1b"
    await installation.executor.ended(
        await installation.executor.dispatch("test_secret", installation.target(), secret=secret)
    )
    path = installation.folder / "root" / "s"
    await installation.executor.ended(
        await installation.executor.dispatch("file_write", installation.target(), file_path=str(path), content=secret)
    )
    await agent.stop()
    assert secret.encode() not in agent.log
    assert containing(files(installation.folder / "state-local-a"), secret) == []


async def _many(operation_id: str, count: int) -> bool:
    return len(living(operation_id)) >= count


async def _get(port: int, path: str) -> bytes:
    def fetch() -> bytes:
        with urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as response:
            return bytes(response.read())

    return await asyncio.to_thread(fetch)


async def test_a_path_outside_the_roots_is_refused_on_the_host_and_reported(installation: Installation) -> None:
    await installation.agent()
    (installation.folder / "root").mkdir()
    (installation.folder / "root" / "way-out").symlink_to("/etc")
    path = f"{installation.folder}/root/way-out/passwd"
    operation_id = await installation.executor.dispatch("file_read", installation.target(), file_path=path)
    receipt = await installation.executor.ended(operation_id)
    assert (receipt.outcome, receipt.code, receipt.effect) == ("failed", "outside_roots", "none")
    await installation.executor.until(
        lambda: [report.kind for report in installation.executor.reports] == ["path_escape"]
    )

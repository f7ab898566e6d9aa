"""An agent reads the filter of its pool's consumer from the reply that gives the server's time, also after a change."""

from pathlib import Path

from writ_contracts import subjects
from writ_nats_server import streams
from writ_testing.peers.nats_server import writ_server


async def test_filter_of_the_pools_consumer_is_read_with_the_servers_time(tmp_path: Path) -> None:
    async with writ_server(tmp_path, pools=("a", "b")) as server:
        agent, executor = await server.bus("agent-a"), await server.bus("executor")
        assert agent.work_filter == ""
        for bus in (agent, executor):
            await bus.server_time(timeout=5)
        assert (agent.work_filter, executor.work_filter) == (subjects.dispatched_filter("a"), "")
        earlier = {**streams.consumer("a"), "filter_subject": "writ.journal.op.*.*.dispatched.a.>"}
        async with server.connected("bootstrap") as admin:
            await streams._provision_consumer(admin.replies, earlier)
        await agent.server_time(timeout=5)
        assert agent.work_filter == earlier["filter_subject"]

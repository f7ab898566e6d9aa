"""`python -m writ_executor`: configuration, bus, parts, serve, stop in order."""

from writ_bus import tasks
from writ_executor.config import ExecutorConfig
from writ_executor.journal.shared_keys import SharedKeys
from writ_executor.metrics import metrics
from writ_executor.service import Executor
from writ_runtime.connect import await_journal, connect_as, load_key
from writ_runtime.files.watched_file import WatchedFile
from writ_runtime.list_reader.lists import AGENTS, TARGETS, ListReader
from writ_runtime.plugins.entry_points import load_catalogue
from writ_runtime.service import StopStep, ended, run, running


async def main(config: ExecutorConfig) -> None:
    key, shared = load_key(config), SharedKeys.read(config.params_key_file)
    inventory = WatchedFile(config.inventory, ListReader(TARGETS))
    agents = WatchedFile(config.agents, ListReader(AGENTS))
    measured = metrics()
    async with running("executor", config, measured) as process:
        bus = await connect_as("executor", config, key, on_violation=lambda kind, what: executor.violation(kind, what))  # noqa: PLW0108
        executor = Executor(config, bus, shared, load_catalogue(), inventory, agents, measured)
        await await_journal(bus, process.log)
        await executor.serve()
        work = tasks.start(executor.run(), "run")
        process.needs(work, "the task that follows the journal ended")
        steps = (
            StopStep("settle", executor.stop, 10.0),
            StopStep("drain", lambda: bus.drain(5.0), 6.0),
            StopStep("follow", lambda: ended(work)),
        )
        await process.serve_until_stopped(executor.checks(), *steps)


if __name__ == "__main__":
    run("executor", ExecutorConfig, main)

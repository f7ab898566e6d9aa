"""`python -m writ_policy`: read the configuration and the files, connect, serve, and stop in order."""

from writ_bus import tasks
from writ_policy.config import PolicyConfig
from writ_policy.metrics import metrics
from writ_policy.service import PolicyService
from writ_runtime.connect import await_journal, connect_as, load_key
from writ_runtime.plugins.entry_points import load_catalogue
from writ_runtime.service import StopStep, ended, run, running


async def main(config: PolicyConfig) -> None:
    """Run one replica. An unusable file at the start ends it with exit status 2."""
    key, measured = load_key(config), metrics()
    policy = PolicyService(config, load_catalogue(evaluators=True), key, measured)
    async with running("policy", config, measured) as process:
        bus = await connect_as("policy", config, key)
        await await_journal(bus, process.log)
        await policy.serve(bus)
        following = tasks.start(policy.follow(), "follow")
        process.needs(following, "the task that follows files and control events ended")
        steps = (
            StopStep("settle", policy.stop),
            StopStep("drain", lambda: bus.drain(5.0), 6.0),
            StopStep("follow", lambda: ended(following)),
        )
        await process.serve_until_stopped(policy.checks(), *steps)


if __name__ == "__main__":
    run("policy", PolicyConfig, main)

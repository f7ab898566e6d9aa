"""`python -m writ_audit`: read the configuration, connect, compose the service, serve, and stop in order."""

from writ_audit.config import AuditConfig
from writ_audit.metrics import metrics
from writ_audit.service import Audit
from writ_bus import tasks
from writ_runtime.connect import await_journal, connect_as, load_key
from writ_runtime.service import StopStep, ended, run, running


async def main(config: AuditConfig) -> None:
    """Run one replica of the audit service. Each replica has its own index."""
    key, measured = load_key(config), metrics()
    async with running("audit", config, measured) as process:
        bus = await connect_as("audit", config, key)
        await await_journal(bus, process.log)
        audit = Audit(config, bus, measured)
        await audit.serve()
        following = tasks.start(audit.follow(), "follow")
        process.needs(following, "the task that follows the journal ended")
        steps = (
            StopStep("settle", audit.stop),
            StopStep("drain", lambda: bus.drain(5.0), 6.0),
            StopStep("follow", lambda: ended(following)),
        )
        await process.serve_until_stopped(audit.checks(), *steps)
        audit.close()


if __name__ == "__main__":
    run("audit", AuditConfig, main)

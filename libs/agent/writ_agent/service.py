"""The process of an agent. With a backend, an agent's `__main__` needs nothing else."""

import asyncio
import secrets
import socket
from collections.abc import Mapping

from writ_agent.agent import Agent, AgentSettings
from writ_agent.backends.operation_threads import OperationThreads
from writ_agent.backends.port import Backend, Handler, TargetTester
from writ_agent.backends.routed_backend import RoutedBackend
from writ_agent.backends.target_health import TargetHealth
from writ_agent.ceiling import NO_CEILING, read_ceiling
from writ_agent.config import AgentConfig
from writ_agent.reporting.metrics import ENDPOINTS, show_target_health
from writ_agent.reporting.receipts import AgentIdentity
from writ_agent.reporting.spool import Spool
from writ_bus import tasks
from writ_contracts.errors import ConfigError
from writ_contracts.operations import Catalogue
from writ_contracts.subjects import printable
from writ_contracts.version import VERSION
from writ_documents.host_identity import host_identity
from writ_runtime.connect import connect_as, load_key
from writ_runtime.files.people_directory import known_directory
from writ_runtime.files.policy_keys import PolicyKeys
from writ_runtime.health import Attention, Check
from writ_runtime.loop_watchdog import ending_when_held_up
from writ_runtime.metrics import Metrics
from writ_runtime.plugins.entry_points import load_catalogue, load_handlers
from writ_runtime.service import Process, StopStep
from writ_trust.digests import derive


def metrics() -> Metrics:
    """Return the metrics for `running`."""
    return Metrics(ENDPOINTS)


async def serve(
    process: Process,
    config: AgentConfig,
    backend: Backend,
    handlers: Mapping[str, object] | None = None,
    *,
    waiting: int = 0,
) -> None:
    """Work until a signal stops the process; then stop in order. `handlers` replace those of plugins. `waiting`: the
    number of operations which may wait for their hosts without a slot.
    """
    key, catalogue = load_key(config), load_catalogue()
    host = host_identity(config.installation, config.machine_id) if config.host_bound else None
    identity = AgentIdentity(key=key, pool=config.pool, instance=new_instance(), host=host)
    threads = _default_threads()
    secret = bytes.fromhex(derive(key.seed, "writ.spool", config.pool))
    routed = RoutedBackend(
        backend, handlers_for(backend.name, catalogue, load_handlers() if handlers is None else handlers)
    )
    with Spool(config.state_dir, secret) as spool, ending_when_held_up(config.stall):
        bus = await connect_as(f"agent-{config.pool}", config, key)
        agent = Agent(
            _settings(config, waiting),
            identity,
            PolicyKeys(config.policy_key, config.keyring).live,
            bus=bus,
            backend=routed,
            catalogue=catalogue,
            spool=spool,
            people=known_directory(config.state_dir, config.people_key, config.installation),
            metrics=process.metrics,
            ceiling=read_ceiling(config.ceiling) if config.ceiling else NO_CEILING,
        )
        process.needs(tasks.start(bus.wait_closed(), "bus closed"), "NATS ended the connection for good")
        await agent.start()
        if isinstance(backend, TargetTester):
            show_target_health(process.metrics, backend.target_health)
        grace = config.stop_grace + 2 * config.kill_grace + 12.0
        await process.serve_until_stopped(
            _checks(agent, backend, threads),
            StopStep("operations", agent.stop, grace),
            StopStep("drain", lambda: bus.drain(2.0), 3.0),
        )


def _default_threads() -> OperationThreads:
    threads = OperationThreads()
    asyncio.get_running_loop().set_default_executor(threads)
    return threads


def _checks(agent: Agent, backend: Backend, threads: OperationThreads) -> dict[str, Check]:
    checks: dict[str, Check] = {"bus": agent.bus_check, "spool": agent.spool_check, backend.name: backend.check}
    checks["clock"], checks["threads"] = agent.time.check, threads.check
    if isinstance(backend, TargetTester):
        checks["targets"] = targets_check(backend.target_health)
    return checks


def handlers_for(backend: str, catalogue: Catalogue, loaded: Mapping[str, object]) -> dict[str, Handler]:
    """Return the plugins' handlers whose operation this backend may have. Raises ConfigError."""
    chosen: dict[str, Handler] = {}
    for name, handler in loaded.items():
        operation = catalogue.get(name)
        if operation is None or not isinstance(handler, Handler):
            raise ConfigError(
                f"a plugin brings an object for {name} that is not a handler, or {name} is not an operation"
            )
        if backend in operation.backends:
            chosen[name] = handler
    return chosen


def targets_check(target_health: TargetHealth) -> Check:
    """Return the health check for unreachable targets. It never makes the agent unready, which can still serve the
    others.
    """

    async def check() -> str | None:
        problem = target_health.problem()
        return Attention(problem) if problem else None

    return check


def new_instance() -> str:
    """Return the id of this process: the host's name for people, the rest for uniqueness."""
    return f"{printable(socket.gethostname()[:40])}-{secrets.token_hex(6)}"


def _settings(config: AgentConfig, waiting: int) -> AgentSettings:
    return AgentSettings(
        version=VERSION,
        slots=config.slots,
        waiting=waiting,
        heartbeat=config.heartbeat,
        kill_grace=config.kill_grace,
        stop_grace=config.stop_grace,
    )

"""The options of `writ up`."""

from msgspec import Struct

from writ_installation.processes.child import SLOW_SECONDS, START_SECONDS
from writ_installation.processes.report import ReportedOptions
from writ_installation.processes.services import Replicas
from writ_installation.provisioner.reconciler import CHECK_SECONDS
from writ_installation.server_access.server_address import LOOPBACK
from writ_installation.server_access.server_tls import Mode


class SupervisorOptions(Struct, frozen=True, kw_only=True):
    """Options of `writ up`. `nats_url`: a server that somebody else runs; `nats_port` 0: any free one.

    `health_port`: that of the first process, the others follow in order, past those that are taken; 0: each takes a
    free one.
    """

    nats_port: int = 4222
    health_port: int = 0
    listen: str = LOOPBACK
    tls: Mode | None = None
    """TLS of the bundled server; without it as `tls.yaml` says, otherwise required beyond loopback."""
    replicas: Replicas = Replicas()
    nats_url: str | None = None
    without_agents: frozenset[str] = frozenset()
    verbose: bool = False
    check_seconds: float = CHECK_SECONDS
    start_seconds: float = START_SECONDS
    """Of `writ up` itself. A process that is added later holds up other changes for `slow_seconds`, and is awaited."""
    slow_seconds: float = SLOW_SECONDS
    stop_seconds: float | None = None
    """Instead of the time of each service."""

    @property
    def reported(self) -> ReportedOptions:
        """Return those that another `writ up` can name."""
        replicas = self.replicas
        return ReportedOptions(
            nats_port=self.nats_port,
            health_port=self.health_port,
            listen=self.listen,
            tls=self.tls,
            policies=replicas.policies,
            executors=replicas.executors,
            audits=replicas.audits,
            agents=replicas.agents,
            gateway=bool(replicas.gateways),
            without=sorted(self.without_agents),
        )

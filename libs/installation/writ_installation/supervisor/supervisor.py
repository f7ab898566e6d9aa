"""`writ up`: NATS, then the services, kept running and equal to the files, and stopped again in order.

Read `Supervisor.run` from top to bottom. No process outlives it, however it ends.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial

from msgspec import structs

from writ_bus.errors import BusError
from writ_contracts.errors import ConfigError, Unreachable
from writ_documents.readers import read_agents, read_inventory
from writ_installation.files import tokens
from writ_installation.files.create import add_missing_pools, create_installation, make_gateway, undone_on_failure
from writ_installation.files.gateway_tokens import bind_tokens
from writ_installation.files.home import Home
from writ_installation.files.keyring import KeyDigests, key_digests
from writ_installation.files.lock import held
from writ_installation.files.lost_policy_key import VARIABLE, refuse_unknown_end
from writ_installation.files.principal_changes import principals_of
from writ_installation.files.sessions import ObservedSession, lasting
from writ_installation.nats import disk
from writ_installation.nats.external_server import ExternalServer, Server, hint
from writ_installation.nats.server import BundledServer, free_port, make_streams
from writ_installation.processes import installed_distributions, services
from writ_installation.processes.child import Child
from writ_installation.processes.health_ports import HealthPorts
from writ_installation.processes.readiness import Readiness, probe
from writ_installation.processes.report import InstallationReport, write_report
from writ_installation.processes.served_targets import check_left_out, credential_folders, served_here
from writ_installation.provisioner.enrolment_endpoint import EnrolmentEndpoint
from writ_installation.provisioner.reconciler import LOOK_SECONDS, Reconciler, Rounds, failure_text
from writ_installation.server_access.server_address import LOOPBACK, ServerAddress
from writ_installation.server_access.server_tls import client_tls, tls_state
from writ_installation.server_access.start_tls import set_up_for_start
from writ_installation.supervisor.added_processes import start_each
from writ_installation.supervisor.admission import keep_admitted
from writ_installation.supervisor.companion_task import companion_task, unless
from writ_installation.supervisor.foreign_services import refuse_services_of_others
from writ_installation.supervisor.log_output import follow
from writ_installation.supervisor.options import SupervisorOptions
from writ_installation.supervisor.replacement import replace_process
from writ_nats_server.process import find_binary
from writ_runtime.files.watched_file import stamp
from writ_runtime.service import no_core_files
from writ_runtime.signals import StopSignal

SERVER_CHECK_SECONDS = 1.5
ShowLine = Callable[[str], None]


class Supervisor:
    """The supervisor of one running installation."""

    def __init__(
        self,
        home: Home,
        options: SupervisorOptions,
        environ: Mapping[str, str],
        show: ShowLine,
        table: services.ProcessTable | None = None,
    ) -> None:
        self._home = home
        self._options = options
        self._environ = environ
        self._show = show
        self._table = table or services.ProcessTable()
        self._credentials = credential_folders(self._table.agents, home, environ)
        self._children: list[Child] = []
        self._server: Server | None = None
        self._rounds = Rounds()
        self._enrolment_endpoint = EnrolmentEndpoint(home, environ, self._rounds)
        self._state, self._problem = "starting", ""
        self._health_ports = HealthPorts(options.health_port, environ, show)
        self._began = time.time()
        self._reported: InstallationReport | None = None
        self._unwritten, self._keys, self._server_checked = "", KeyDigests(), 0.0
        self._taken_in: list[object] = []
        self.readiness: dict[str, Readiness] = {}

    async def run(self, stop: StopSignal, on_ready: Callable[[InstallationReport], None]) -> None:
        """Start everything, run until a stop is requested, and stop everything. Raises Conflict if it is up."""
        refuse_services_of_others(self._home)
        disk.check_room_for_new(self._home)
        installed_distributions.refuse_former()
        installed_distributions.require(self._table.core)
        os.umask(0o077)  # what any of its processes writes is for the owner alone, unless it says otherwise
        no_core_files()
        existed = self._home.root.exists()
        self._home.make_folders()
        with held(self._home.lock):
            with undone_on_failure(self._home, existed=existed):
                self._server = await self._made()
            async with companion_task(follow(self._home.log, print) if self._options.verbose else None):
                try:
                    await self._work(self._server, stop, on_ready)
                finally:
                    self._show("stopping")
                    await self._down()

    async def _made(self) -> Server:
        """Make the missing files, and the server. A new installation is not begun where that cannot start."""
        first = not self._home.principals.exists()
        create_installation(self._home, former := self._environ.get(VARIABLE, ""))
        refuse_unknown_end(self._home, former)
        check_left_out(self._options.without_agents, self._home, self._table.agents)
        if self._options.replicas.gateways:
            make_gateway(self._home)
        server = self._make_server()
        if first and isinstance(server, BundledServer):
            find_binary()
            if self._options.nats_port:
                await server.check_port()
        if first:
            self._show(f"made {self._home.root}: keys, policy.yaml, inventory.yaml, principals.yaml, agents.yaml")
        return server

    async def _work(self, server: Server, stop: StopSignal, on_ready: Callable[[InstallationReport], None]) -> None:
        observed = self._files()  # before they are read: what changes during the start is a change, too
        keys = key_digests(self._home)
        await unless(stop, self._start(server))
        self._keys = keys
        if not stop.is_requested:
            self._state = "ready"
            on_ready(self._report())
            # An error in it ends Writ: otherwise a removed key would stay good and nobody would notice.
            await unless(stop, self._follow(server, observed))

    def _make_server(self) -> Server:
        options = self._options
        if options.nats_url is not None:
            return ExternalServer(self._home, options.nats_url, self._show, self._environ)
        set_up_for_start(self._home, options.tls, options.listen)
        return BundledServer(self._home, self._address(), self._show, self._environ)

    def _address(self) -> ServerAddress:
        listen = self._options.listen
        port = self._options.nats_port or free_port(listen)
        return ServerAddress(host=listen, port=port, monitor_port=free_port(LOOPBACK, port))

    async def _serve(self, server: Server) -> None:
        """Start the server. Another process may take the chosen port before that: then choose again."""
        if isinstance(server, ExternalServer):
            await self._enrolment_endpoint.restore_damaged(server.url)
        try:
            await server.start()
        except Unreachable:
            if not isinstance(server, BundledServer):
                raise
            server.move(self._address())
            await server.start()

    async def _start(self, server: Server) -> None:
        self._report()
        admitted = self._files()
        await self._serve(server)
        try:
            pools = {agent.pool for agent in read_agents(self._home.agents).agents}
            await make_streams(self._home, server.url, sorted(pools), client_tls(self._home, self._environ))
            await self._enrolment_endpoint.restore_files(server.url)
        except BusError as error:
            raise Unreachable(hint(error, server)) from error
        expected = services.core(self._table, self._home, server.url, self._options.replicas, self._environ, server.log)
        expected += self._agents(server, self._pools_here())
        async with self._admission(server, admitted):
            await self._start_children(expected)
        try:
            await self._open(server)
        except (ConfigError, Unreachable) as error:  # of an edit during the start, say: the first round tries again
            self._note(error)

    async def _open(self, server: Server) -> None:
        try:
            await self._enrolment_endpoint.open(server.url)
        except BusError as error:
            raise Unreachable(hint(error, server)) from error
        bind_tokens(self._home.gateway_tokens, principals_of(self._home))  # not before changes were read

    async def _start_children(self, expected: list[services.ServiceProcess]) -> None:
        installed_distributions.require(service.argv for service in expected)
        async with asyncio.TaskGroup() as group:
            for child in self._new_children(expected, self._options.start_seconds):
                group.create_task(self._start_child(child))

    async def _add_children(self, added: list[services.ServiceProcess]) -> None:
        children = self._new_children(added, self._options.slow_seconds)
        await start_each(children, self._start_child, self._stop_children)

    def _new_children(self, wanted: list[services.ServiceProcess], within: float) -> list[Child]:
        self._children += (made := [self._child(self._health_ports.given_to(one), within) for one in wanted])
        return made

    async def _stop_children(self, children: list[Child]) -> None:
        await asyncio.gather(*(child.stop() for child in children))
        self._children = [child for child in self._children if child not in children]

    def _child(self, service: services.ServiceProcess, within: float | None = None) -> Child:
        return Child(
            service,
            self._home,
            self._environ,
            self._show,
            start_seconds=self._options.start_seconds if within is None else within,
            slow_seconds=self._options.slow_seconds,
            stop_seconds=self._options.stop_seconds or service.stop_seconds,
        )

    async def _start_child(self, child: Child) -> None:
        await child.start()
        self._show(f"{child.name} is ready (process {child.pid})")
        self.readiness[child.name] = await probe(self._home.run / f"{child.name}.json", child.pid)
        self._report()

    def _pools_here(self) -> dict[str, str]:
        """Return the pools served here and their backends, unless others run their agents."""
        targets = read_inventory(self._home.inventory).targets
        here = served_here(targets, self._table.agents, self._home, self._environ)
        return {pool: backend for pool, backend in here.items() if pool not in self._options.without_agents}

    def _agents(self, server: Server, pools: Mapping[str, str]) -> list[services.ServiceProcess]:
        return services.agents(self._table, self._home, server.url, pools, self._environ, self._options.replicas.agents)

    async def _follow(self, server: Server, observed: ObservedSession) -> None:
        self._taken_in, applied = ([], None) if self._problem else (observed.files, observed)
        reconciler = Reconciler(self._rounds, self._files, partial(self._adapt, server), self._note, applied)
        while True:
            await reconciler.pause(self._options.check_seconds)
            await self._check_server(server)
            self._report()
            await reconciler.round()

    async def _check_server(self, server: Server) -> None:
        if time.monotonic() - self._server_checked > SERVER_CHECK_SECONDS:
            await server.check()
            self._server_checked = time.monotonic()

    def _note(self, failure: Exception | None, is_new: bool = True) -> None:
        self._problem = "" if failure is None else failure_text(failure)
        if self._problem and is_new:
            self._show(self._problem)

    def _files(self) -> ObservedSession:
        """Return a state that changes with a file of the owner's, and with the tokens and sessions that count."""
        home = self._home
        listed = (home.inventory, home.principals, home.principal_changes, home.agents, home.leaves, home.keyring_file)
        paths = (*listed, *self._credentials)
        now = time.time()
        files = [*map(stamp, paths), *tls_state(home, now), *(token.id for token in tokens.good(home, now))]
        files += [] if home.principal_changes.exists() else [object()]  # lost: a change until it is written again
        return ObservedSession(files, lasting(home, now))

    async def _adapt(self, server: Server) -> None:
        """Make users, accounts, consumers and local agents equal to the files."""
        files = (observed := self._files()).files
        if files == self._taken_in:  # a session: none of our processes depends on it
            await self._admit(server)
            return
        self._taken_in = []
        keys = key_digests(self._home)
        before = {agent.pool for agent in read_agents(self._home.agents).agents}
        changed = await self._admit(server)  # first: a mistake in the inventory must not keep a removed principal in
        if ((added := set(add_missing_pools(self._home))) and await self._admit(server)) or changed:
            self._show("principals and pools match the files again")
        async with self._admission(server, observed):
            await self._adapt_processes(server, before | added)
        self._keys, self._taken_in = keys, files

    def _admission(self, server: Server, admitted: ObservedSession) -> AbstractAsyncContextManager[None]:
        """`admitted`: the files before the server read them."""
        return companion_task(keep_admitted(partial(self._admit, server), self._files, LOOK_SECONDS, admitted))

    async def _admit(self, server: Server) -> bool:
        await self._enrolment_endpoint.restore_files(server.url)
        return await server.adapt()

    async def _adapt_processes(self, server: Server, known: set[str]) -> None:
        """Make consumers and local agents equal to the files."""
        await make_streams(self._home, server.url, sorted(known), client_tls(self._home, self._environ))
        await self._open(server)
        # A pool that came into the inventory since then has no key and no account yet: its turn is the next round.
        here = {pool: backend for pool, backend in self._pools_here().items() if pool in known}
        expected = {service.name: service for service in self._agents(server, here)}
        gone = [child for child in self._children if child.name.startswith("agent-") and child.name not in expected]
        for child in gone:
            self._show(f"{child.name} is no longer needed: stopping it")
        await self._stop_children(gone)
        running = {child.name for child in self._children}
        await self._add_children([service for name, service in expected.items() if name not in running])
        core = services.core(self._table, self._home, server.url, self._options.replicas, self._environ, server.log)
        await self._replace_keys({service.name: service for service in [*core, *expected.values()]})

    async def _replace_keys(self, expected: Mapping[str, services.ServiceProcess]) -> None:
        """Replace the processes whose key was rotated, one after the other."""
        for at, child in enumerate(self._children):
            service = expected.get(child.name, child.service)
            if service.key != child.service.key or child.state == "stopped":
                port = {"WRIT_HEALTH_PORT": child.service.env.get("WRIT_HEALTH_PORT", "0")}
                service = structs.replace(service, env={**service.env, **port})
                self._children[at] = await replace_process(self._home, child, service, self._child)
                self._show(f"{child.name} has its new key")
                self._report()

    async def _down(self) -> None:
        self._state = "stopping"
        self._report()
        await self._enrolment_endpoint.close()
        for level in sorted({child.service.stop_at for child in self._children}):
            await self._stop_children([child for child in self._children if child.service.stop_at == level])
        if self._server is not None:
            await self._server.stop()
        self._home.report_file.unlink(missing_ok=True)

    def _report(self) -> InstallationReport:
        assert self._server is not None  # noqa: S101 - made before anything is reported
        bundled = [self._server] if isinstance(self._server, BundledServer) else []
        report = InstallationReport(
            pid=os.getpid(),
            state=self._state,
            problem="; ".join(filter(None, (self._problem, self._warning()))),
            url=self._server.url,
            started_at=self._began,
            external=isinstance(self._server, ExternalServer),
            processes=[*(one.report() for one in bundled), *(one.report() for one in self._children)],
            policy_file=str(services.policy_file(self._home, self._environ)),
            options=self._options.reported,
            **self._keys._asdict(),
        )
        if report != self._reported:
            self._write(report)
        return report

    def _warning(self) -> str:
        """Return the server's warning, unless the problem includes it."""
        warning = self._server.warning if self._server is not None else ""
        return "" if warning in self._problem else warning

    def _write(self, report: InstallationReport) -> None:
        try:
            write_report(self._home.report_file, report)
        except OSError as error:  # the disk is full, for example: processes go on, and the next round tries again
            if str(error) != self._unwritten:
                self._show(f"{self._home.report_file} could not be written, trying again: {error}")
            self._unwritten = str(error)
        else:
            self._reported, self._unwritten = report, ""

"""`writ up`: the installation in `$WRIT_HOME`."""

import os
import sys
from pathlib import Path

import click
import msgspec
from msgspec.structs import asdict
from rich.text import Text

from writ_cli.arguments import completion
from writ_cli.arguments.options import local
from writ_cli.arguments.typed_options import refuse_typed, spelled, typed
from writ_cli.context.settings import Settings
from writ_cli.installation.processes.failing_lines import degraded_reasons, failing_lines
from writ_cli.installation.processes.init import MONITOR_PORT, TLS_HELP
from writ_cli.installation.processes.policy_state import Observed, failing_checks, notes, problems
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen, visible
from writ_contracts.errors import ConfigError, Invalid, Unreachable
from writ_documents.atomic_files import write_atomically
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_installation.files.lock import holder
from writ_installation.files.lost_keys import lost_keys
from writ_installation.files.lost_policy_key import VARIABLE, refuse_lost_policy_key
from writ_installation.nats.external_server import external_configuration
from writ_installation.processes.health_ports import FIRST
from writ_installation.processes.report import InstallationReport, ReportedOptions, read_report
from writ_installation.processes.services import Replicas
from writ_installation.server_access.server_address import LOOPBACK, ServerAddress
from writ_installation.server_access.server_tls import Mode, plaintext
from writ_installation.status import control, degradation
from writ_installation.status.server_url import running_url
from writ_installation.supervisor.detached_start import detach, until_started
from writ_installation.supervisor.options import SupervisorOptions
from writ_installation.supervisor.supervisor import Supervisor
from writ_runtime.signals import StopSignal
from writ_runtime.unread_variables import unread_variables

REPLICAS = click.IntRange(1, 32)
PATIENCE = 5.0
"""Time for all replies of an installation that is up: on a busy machine a slow one is not degraded."""
BUNDLED = ("nats_port", "listen", "tls")
"""Options of the bundled NATS server."""


@click.command()
@click.option("--detach", is_flag=True, help="Return when all is ready; `writ down` ends it.")
@click.option("--executors", type=REPLICAS, default=1, show_default=True, help="Number of executors.")
@click.option("--policies", type=REPLICAS, default=1, show_default=True, help="Number of policy services.")
@click.option("--audits", type=REPLICAS, default=1, show_default=True, help="Number of audit services.")
@click.option(
    "--agents", type=REPLICAS, default=1, show_default=True, help="Number of agents of each pool on this machine."
)
@click.option("--gateway", is_flag=True, help="Also the MCP gateway over HTTP; WRIT_MCP_… are its settings.")
@click.option(
    "--nats-port",
    type=click.IntRange(0, 65535),
    envvar="WRIT_NATS_PORT",
    default=4222,
    show_default=True,
    help="Port of the bundled NATS server; 0 takes a free port (WRIT_NATS_PORT).",
)
@click.option(
    "--listen", metavar="ADDRESS", default=LOOPBACK, show_default=True, help="Address of the bundled NATS server."
)
@click.option(
    "--health-port",
    type=click.IntRange(0, 65000),
    envvar="WRIT_HEALTH_PORT",
    help="Port for health and metrics of the first process; the others take the next ones. 0: free ports. "
    f"Default: {FIRST}, or free ports with --nats-port 0.",
)
@click.option("--tls", type=click.Choice(["required", "offered", "off"]), help=TLS_HELP)
@click.option(
    "--no-agent",
    "without",
    multiple=True,
    metavar="POOL",
    help="Start no agent of this pool: it runs elsewhere.",
    shell_complete=completion.pools,
)
@click.option("--verbose", "-v", is_flag=True, help="Show the logs of all processes.")
@click.option(
    "--write-server-config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Only write the configuration for a NATS server that NATS_URL will name.",
)
@local
async def up(
    settings: Settings,
    detach: bool,
    executors: int,
    policies: int,
    audits: int,
    agents: int,
    gateway: bool,
    nats_port: int,
    health_port: int | None,
    listen: str,
    tls: Mode | None,
    without: tuple[str, ...],
    verbose: bool,
    config_file: Path | None,
) -> int:
    """Start Writ on this machine: NATS, policy, executor, audit, an agent for this host, and one for SSH targets.

    An empty folder becomes an installation: keys, a policy, an inventory with this machine in it, and the principal
    `operator`. With NATS_URL set no NATS server is started: the external server needs the configuration by
    --write-server-config. Ctrl-C stops everything in order.

    Exit status of a start with --detach: 0 once every process is ready, also where policy then reports a fault, which
    is shown. Where Writ is up already: that of `writ status`, so 1 while it is degraded.
    """
    home = settings.home
    _refuse_without_effect(home, detach=detach, config_file=config_file)
    if config_file is not None:
        return _write_server_config(settings, config_file, listen, nats_port)
    runs = running_url(home) is not None and holder(home.lock) is not None
    if runs and (status := await _already_up(settings, waits=detach)) is not None:
        return status
    _check_keys(home)
    options = SupervisorOptions(
        nats_port=nats_port,
        health_port=_first_health_port(health_port, nats_port),
        listen=listen,
        tls=tls,
        replicas=Replicas(policies=policies, executors=executors, audits=audits, agents=agents, gateways=int(gateway)),
        nats_url=os.environ.get("NATS_URL") or None,
        without_agents=frozenset(without),
        verbose=verbose,
    )
    if detach:
        return await _up_detached(settings, options)
    supervisor = Supervisor(home, options, os.environ, _show_line)
    async with StopSignal() as stop:
        await supervisor.run(stop, lambda report: _ready(settings, report, supervisor.readiness, detached=False))
    return Exit.DONE


def _check_keys(home: Home) -> None:
    """Report lost keys, and variables that nothing reads. Raises Invalid for policy's key."""
    refuse_lost_policy_key(home, os.environ.get(VARIABLE, ""))
    for line in (*unread_variables(os.environ), *lost_keys(home)):
        _show_line(line)


def _refuse_without_effect(home: Home, *, detach: bool, config_file: Path | None) -> None:
    """Raises UsageError for options that the others, or NATS_URL, leave without effect."""
    if config_file is not None:
        started = (*ReportedOptions.__struct_fields__, "detach", "verbose")
        names = set(started) - {"listen", "nats_port"}
        refuse_typed(names, "--write-server-config starts nothing: leave one of them out")
    elif os.environ.get("NATS_URL"):
        port = click.get_current_context().params["nats_port"]  # with 0, the health ports are free ones
        refuse_typed(
            BUNDLED if port else {*BUNDLED} - {"nats_port"},
            "these are for the bundled NATS server, and NATS_URL names another one",
        )
    if detach:
        refuse_typed(("verbose",), f"a start with --detach shows no logs; they are in {home.log}")


def _first_health_port(chosen: int | None, nats_port: int) -> int:
    """Return the first port; with a free port for NATS, 0: such an installation stands beside others."""
    if chosen is not None:
        return chosen
    return FIRST if nats_port else 0


async def _up_detached(settings: Settings, options: SupervisorOptions) -> int:
    report = await detach(settings.home, _arguments(settings, options), _show_line)
    status = await control.status(settings.home, settings.environ)
    _ready(settings, report, {one.name: one for one in status.processes}, detached=True)
    return Exit.DONE


def _arguments(settings: Settings, options: SupervisorOptions) -> list[str]:
    words = ["--home", str(settings.home.root), "--health-port", str(options.health_port)]
    tls = ["--tls", options.tls] if options.tls else []
    bundled = ["--listen", options.listen, "--nats-port", str(options.nats_port), *tls]
    replicas = asdict(options.replicas)
    gateway = ["--gateway"] if replicas.pop("gateways") else []
    counts = (word for name, count in replicas.items() for word in (f"--{name}", str(count)))
    return [
        *words,
        *counts,
        *gateway,
        *(bundled if options.nats_url is None else []),
        *(word for pool in sorted(options.without_agents) for word in ("--no-agent", pool)),
    ]


async def _already_up(settings: Settings, *, waits: bool) -> int | None:
    """Print that it is up, with the address, and what is failing; the lock shows a start in between. Return the exit
    status of `writ status`, or None if it has ended meanwhile. `waits`: for the end of a start by another process.
    Raises Invalid for an option with another value than that start had, ConfigError.
    """
    home = settings.home
    if waits:
        await until_started(home, _show_line)
    if (report := read_report(home.report_file)) is None:
        return None
    if differing := _differing(report.options):
        again = "`writ down` ends it, then start it with them"
        raise Invalid(f"Writ is already up on {home.root}, with another {differing}; nothing changed: {again}")
    try:
        status = await control.status(home, settings.environ, PATIENCE)
    except Unreachable:  # it ended just now
        return None
    except ConfigError as error:  # such as a lost key
        raise ConfigError(f"Writ is already up on {home.root}, but its state cannot be read: {error}") from error
    degraded = degraded_reasons(status)
    if settings.screen.json:
        settings.screen.data({**msgspec.to_builtins(report), "degraded": degraded})
    else:
        _show_already_up(settings.screen, status)
    return Exit.DONE if status.ready and not degraded else Exit.FAILED


def _show_already_up(screen: Screen, status: control.InstallationStatus) -> None:
    state = degradation.shown_state(status)
    known = "already up" if state in ("ready", "degraded") else state
    but = ", but degraded" if state == "degraded" else ""
    screen.line(f"Writ is {known} on {status.home}{but}, NATS at {status.url}")
    sys.stdout.flush()
    for line in failing_lines(status) if but else ():  # otherwise some are not ready yet, or no longer
        screen.err.print(Text(visible(line), style="bold red"), soft_wrap=True)


def _differing(running: ReportedOptions | None) -> str:
    """Return the options on the command line whose values are not those of the running installation, or unknown."""
    given = click.get_current_context().params
    found = [
        one
        for one in typed(ReportedOptions.__struct_fields__)
        if running is None or _comparable(getattr(running, str(one.name))) != _comparable(given[str(one.name)])
    ]
    return spelled(found)


def _comparable(value: object) -> object:
    return sorted(set(value)) if isinstance(value, list | tuple) else value


def _write_server_config(settings: Settings, path: Path, listen: str, port: int) -> int:
    create_installation(settings.home, os.environ.get(VARIABLE, ""))
    address = ServerAddress(host=listen, port=port or 4222, monitor_port=MONITOR_PORT)
    write_atomically(path.absolute(), external_configuration(settings.home, address).encode())
    settings.screen.line(f"{path}: start nats-server with it (-c {path}), then NATS_URL=… writ up")
    return Exit.DONE


def _ready(settings: Settings, report: InstallationReport, processes: Observed, *, detached: bool) -> None:
    screen, degraded = settings.screen, problems(processes)
    if screen.json:
        screen.data({**msgspec.to_builtins(report), "degraded": failing_checks(processes)})
    else:
        _show_ready(settings, report, degraded=bool(degraded), detached=detached)
    sys.stdout.flush()
    said = notes(processes)
    if report.options and not report.external and (note := plaintext(settings.home, report.options.listen)):
        said = [*said, note]
    for text, style in (*((one, "bold red") for one in degraded), *((one, "bold yellow") for one in said)):
        screen.err.print(Text(_said(text), style=style), soft_wrap=True)


def _show_ready(settings: Settings, report: InstallationReport, *, degraded: bool, detached: bool) -> None:
    screen, home = settings.screen, settings.home
    ready = Text("Writ is up, but degraded", "bold red") if degraded else Text("Writ is ready", "bold green")
    screen.line(ready, f" on {home.root}, NATS at {report.url}")
    screen.line("  writ target list                  list the targets")
    screen.line("  writ operations                   the operations of this installation")
    screen.line("  writ run network_status -t TARGET request one of them")
    screen.line("  writ trace OPERATION_ID           show its record")
    end = "`writ down` ends it" if detached else "Ctrl-C ends it"
    screen.line(f"  {end}; logs are in {home.log}")


def _show_line(text: str) -> None:
    click.echo(_said(text), err=True)


def _said(text: str) -> str:
    return f"writ up: {visible(text, newlines=True)}"

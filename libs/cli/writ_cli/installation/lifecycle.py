"""`writ up`, `down` and `status`: the installation in `$WRIT_HOME`, and the environment of agents on other hosts."""

import os
import sys
import time
from pathlib import Path

import click
import msgspec
from msgspec.structs import asdict
from rich.text import Text

from writ_cli import times
from writ_cli.exit_status import Exit
from writ_cli.installation.init import MONITOR_PORT, TLS_HELP
from writ_cli.options import listing, local, local_status
from writ_cli.output import Screen, visible
from writ_cli.settings import Settings
from writ_contracts.errors import Invalid
from writ_contracts.nearest_name import near
from writ_documents.atomic_files import write_atomically
from writ_documents.readers import read_agents
from writ_installation.files.create import create_installation
from writ_installation.files.lock import holder
from writ_installation.nats.server import LOOPBACK, ServerAddress, configuration
from writ_installation.nats.server_tls import Mode, check_exposed, check_names, pinned_ca, with_scheme
from writ_installation.nats.urls import checked_servers
from writ_installation.processes.health_ports import FIRST
from writ_installation.processes.report import InstallationReport, read_report
from writ_installation.processes.services import Replicas, agent_elsewhere
from writ_installation.status import control
from writ_installation.status.scrape_targets import scrape_targets
from writ_installation.status.server_url import public_url, running_url
from writ_installation.supervisor.supervisor import Supervisor, SupervisorOptions
from writ_runtime.signals import Stop

REPLICAS = click.IntRange(1, 32)


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
    "--health-port",
    type=click.IntRange(0, 65000),
    envvar="WRIT_HEALTH_PORT",
    help=f"Port of the first process's health and metrics, the others follow; 0 takes free ones. Without it: {FIRST}, "
    "or free ones with --nats-port 0.",
)
@click.option("--listen", metavar="ADDRESS", default=LOOPBACK, show_default=True, help="Its address.")
@click.option("--tls", type=click.Choice(["required", "offered", "off"]), help=TLS_HELP)
@click.option(
    "--no-agent", "without", multiple=True, metavar="POOL", help="Start no agent of this pool: it runs elsewhere."
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
    """
    home = settings.home
    if config_file is not None:
        return _write_server_config(settings, config_file, listen, nats_port)
    if running_url(home) is not None and holder(home.lock) is not None:
        return _already_up(settings)
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
    async with Stop() as stop:
        await supervisor.run(stop, lambda report: _ready(settings, report, detached=False))
    return Exit.DONE


def _first_health_port(chosen: int | None, nats_port: int) -> int:
    """Return the first port; with a free port for NATS, 0: such an installation stands beside others."""
    if chosen is not None:
        return chosen
    return FIRST if nats_port else 0


async def _up_detached(settings: Settings, options: SupervisorOptions) -> int:
    report = await control.detach(settings.home, _arguments(settings, options))
    _ready(settings, report, detached=True)
    for note in policy_notes(await control.status(settings.home, settings.environ)):
        _show_line(note)
    return Exit.DONE


def _arguments(settings: Settings, options: SupervisorOptions) -> list[str]:
    ports = ["--nats-port", str(options.nats_port), "--health-port", str(options.health_port)]
    words = ["--home", str(settings.home.root), "--listen", options.listen]
    tls = ["--tls", options.tls] if options.tls else []
    replicas = asdict(options.replicas)
    gateway = ["--gateway"] if replicas.pop("gateways") else []
    counts = (word for name, count in replicas.items() for word in (f"--{name}", str(count)))
    return [
        *words,
        *counts,
        *gateway,
        *tls,
        *ports,
        *(word for pool in sorted(options.without_agents) for word in ("--no-agent", pool)),
    ]


def _already_up(settings: Settings) -> int:
    """Say so, and with which address; a start in between is told by the lock."""
    report = read_report(settings.home.report_file)
    if settings.screen.json:
        settings.screen.data(report)
    else:
        settings.screen.line(f"Writ is already up on {settings.home.root}, NATS at {running_url(settings.home)}")
    return Exit.DONE


def _write_server_config(settings: Settings, path: Path, listen: str, port: int) -> int:
    create_installation(settings.home)
    address = ServerAddress(host=listen, port=port or 4222, monitor_port=MONITOR_PORT)
    write_atomically(path.absolute(), configuration(settings.home, address).encode())
    settings.screen.line(f"{path}: start nats-server with it (-c {path}), then NATS_URL=… writ up")
    return Exit.DONE


def _ready(settings: Settings, report: InstallationReport, *, detached: bool) -> None:
    screen = settings.screen
    if screen.json:
        screen.data(report)
        sys.stdout.flush()
        return
    home = settings.home
    screen.line(Text("Writ is ready", style="bold green"), f" on {home.root}, NATS at {report.url}")
    screen.line("  writ targets                      list the targets")
    screen.line("  writ operations                   the operations of this installation")
    screen.line("  writ run network_status -t TARGET request one of them")
    screen.line("  writ trace OPERATION_ID           show its record")
    end = "`writ down` ends it" if detached else "Ctrl-C ends it"
    screen.line(f"  {end}; logs are in {home.log}")
    sys.stdout.flush()


@click.command()
@local
async def down(settings: Settings) -> int:
    """Stop the processes of `writ up`; return when each has ended."""
    await control.down(settings.home)
    if settings.screen.json:
        settings.screen.data({"state": "down"})
    else:
        settings.screen.line(f"Writ is down on {settings.home.root}")
    return Exit.DONE


@click.command()
@click.argument("processes", nargs=-1, metavar="[PROCESS]...")
@local
async def restart(settings: Settings, processes: tuple[str, ...]) -> int:
    """Restart the processes of `writ up` here, one after the other, each ready again before the next.

    Without names, all but `nats`. Under load nothing is lost: a process finishes its work or hands it back.
    """
    pids: dict[str, int] = {}
    for name in control.to_restart(settings.home, processes):
        pids[name] = await control.restart(settings.home, name)
        if not settings.screen.json:
            settings.screen.line(f"{name} is ready again (process {pids[name]})")
    if settings.screen.json:
        settings.screen.data(pids)
    return Exit.DONE


@click.command()
@listing(local_status)
async def status(settings: Settings) -> int:
    """Show each process, what is degraded and why, and the journal's usage.

    Exit status 1 where anything is degraded, also where every process is ready. `-o prometheus` prints the addresses of
    metrics for `file_sd_configs`; `writ up --health-port` fixes their ports.
    """
    status = await control.status(settings.home, settings.environ)
    degraded = control.degradations(status)
    if settings.screen.form == "prometheus":
        click.echo(msgspec.json.encode(scrape_targets(status)).decode())
    elif settings.screen.json:
        settings.screen.data({**msgspec.to_builtins(status), "degraded": list(degraded)})
    else:
        _show_status(settings.screen, status)
    return Exit.DONE if status.ready and not degraded else Exit.FAILED


def _show_status(screen: Screen, status: control.InstallationStatus) -> None:
    since = f" for {times.span(time.time() - status.started_at)}, process {status.pid}" if status.started_at else ""
    degraded = control.degradations(status)
    state = "degraded" if degraded and status.state == "ready" else status.state
    screen.line(f"{status.home}: {state}{since}, NATS at {status.url}")
    rows = [
        (
            one.name,
            Text(one.state, style="red" if not one.ready else "yellow" if one.failing else "green"),
            one.pid,
            one.health_port,
            one.restarts,
            one.details.get("clock", ""),
        )
        for one in status.processes
    ]
    screen.table(("process", "state", "pid", "health port", "restarts", "clock"), rows, drop=("clock", "pid"))
    for reason, names in degraded.items():
        screen.line(Text(f"{', '.join(names)}: {reason}" if names else reason, style="red"))
    for one in status.processes:
        if one.ready and control.ABOUT_HOSTS in one.failing:
            text = f"{one.name}: {control.ABOUT_HOSTS}: {one.failing[control.ABOUT_HOSTS]}"
            screen.line(Text(text, style="yellow"))
    for note in (*policy_notes(status), *_restarts(status)):
        screen.line(Text(note, style="yellow"))
    for notice in dict.fromkeys(one.details["control"] for one in status.processes if "control" in one.details):
        screen.line(Text(f"in force: {notice}", style="bold yellow"))
    if status.exposed:
        screen.line(Text(status.exposed, style="bold yellow"))
    if status.certificate_ends:
        screen.line(f"NATS's certificate ends {times.date(status.certificate_ends)}")
    if status.journal is None:
        return
    usage = status.journal
    share = control.usage_share(usage)
    screen.line(
        f"journal: {usage.messages} events, {usage.bytes / 1e6:.1f} MB, {share:.1%} of {usage.max_bytes / 1e6:.0f} MB"
    )


def _restarts(observed: control.InstallationStatus) -> list[str]:
    """Return a line for each restarted process, with the reason of the last restart."""
    return [
        f"{one.name}: restarted {one.restarts} ×, last {times.span(time.time() - one.restarted_at)} ago: it "
        f"{one.restarted_for}"
        for one in observed.processes
        if one.restarted_at is not None
    ]


def policy_notes(observed: control.InstallationStatus) -> list[str]:
    """Return the policy services' messages about a policy file not in force, each once."""
    return list(dict.fromkeys(one.details["policy"] for one in observed.processes if "policy" in one.details))


@click.command("agent-env")
@click.argument("pool")
@click.option("--url", metavar="URL", help="The URL of NATS for that host, if it differs from the one here.")
@click.option("--key-file", metavar="PATH", help="The path of the key on that host.")
@click.option(
    "--state-dir",
    metavar="PATH",
    default="/var/lib/writ-agent",
    show_default=True,
    help="The folder of the agent's state on that host.",
)
@local
async def agent_env(settings: Settings, pool: str, url: str | None, key_file: str | None, state_dir: str) -> int:
    """Print the environment of a pool's agent on another host, for an EnvironmentFile.

    Copy the key file there, mode 0600. The pool must be one the inventory's targets have.
    """
    home = settings.home
    pools = {agent.pool for agent in read_agents(home.agents).agents}
    if pool not in pools:
        raise Invalid(f"no pool {pool!r} in {home.agents}{near(pool, pools) or '; give a target this pool first'}")
    advertised = with_scheme(home, checked_servers(url)) if url is not None else None
    where, ca = advertised or public_url(home) or control.running(home).url, pinned_ca(home)
    check_names(home, where)
    check_exposed(where, ca, settings.environ)
    values = agent_elsewhere(
        pool,
        where,
        ca=ca,
        key_file=key_file or str(home.seed_file(f"agent-{pool}")),
        policy_key=",".join(home.keys_of("policy")),
        people_key=home.people_key(),
        installation=home.installation,
        state_dir=state_dir,
    )
    if settings.screen.json:
        settings.screen.data(values)
    else:
        for name, value in values.items():
            click.echo(f"{name}={value}")
    return Exit.DONE


def _show_line(text: str) -> None:
    click.echo(f"writ up: {visible(text, newlines=True)}", err=True)

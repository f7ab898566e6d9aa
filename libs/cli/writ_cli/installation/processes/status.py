"""`writ status`: the processes of an installation, their failing checks, and the journal's usage."""

import time

import click
import msgspec
from rich.text import Text

from writ_cli.arguments.options import listing, local_status
from writ_cli.context.settings import Settings
from writ_cli.installation.processes.failing_lines import degraded_reasons, failing_lines
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen
from writ_cli.terminal.process_age import process_age
from writ_contracts.plural import plural
from writ_installation.status import control, degradation
from writ_installation.status.scrape_targets import scrape_targets

SHOWN_SECONDS = 2.2
"""After this time since its start the command shows what it has: a person reads it within 3 s, also on a busy machine,
where the command takes a second to start and half of one to end.
"""
LEAST_PATIENCE = 1.2
FRESH_SECONDS = 10.0
"""A process of this age did not start for this command alone."""
_RETRIES = {"targets": "; `writ target test TARGET` tries again"}


def patience_at(age: float) -> float:
    """Return how long to wait for all replies, in a process of this age in seconds."""
    if age > FRESH_SECONDS:
        return control.STATUS_SECONDS
    return min(max(SHOWN_SECONDS - age, LEAST_PATIENCE), control.STATUS_SECONDS)


@click.command()
@listing(local_status)
async def status(settings: Settings) -> int:
    """Show each process, what is degraded and why, and the journal's usage.

    Exit status 1 where anything is degraded, also where every process is ready. Hosts out of reach and operations that
    fail on their hosts are shown, and do not degrade Writ. `-o prometheus` prints the addresses of
    metrics for `file_sd_configs`; `writ up --health-port` fixes their ports.
    """
    status = await control.status(
        settings.home, settings.environ, None if settings.waits else patience_at(process_age())
    )
    degraded = degradation.degradations(status)
    if settings.screen.form == "prometheus":
        click.echo(msgspec.json.encode(scrape_targets(status)).decode())
    elif settings.screen.json:
        found = {
            "state": degradation.shown_state(status),
            "ready": status.ready and not degraded,
            "degraded": degraded_reasons(status),
            "degradations": msgspec.to_builtins(degradation.degradations_by_process(status)),
        }
        settings.screen.data({**msgspec.to_builtins(status), **found})
    else:
        _show_status(settings.screen, status)
    return Exit.DONE if status.ready and not degraded else Exit.FAILED


def _show_status(screen: Screen, status: control.InstallationStatus) -> None:
    since = f" for {times.span(time.time() - status.started_at)}, process {status.pid}" if status.started_at else ""
    screen.line(f"{status.home}: {degradation.shown_state(status)}{since}, NATS at {status.url}")
    rows = [
        (
            one.name,
            Text(one.state, style="red" if not one.ready else "yellow" if one.failing else "green"),
            one.pid,
            one.health_port,
            one.restarts,
            one.details.get("clock", "").replace(" the NATS server's", " NATS"),
        )
        for one in status.processes
    ]
    drop = ("clock", "pid", "health port")
    screen.table(("process", "state", "pid", "health port", "restarts", "clock"), rows, drop=drop)
    if not any(one.name.startswith("agent") for one in status.processes):  # units of systemd: agents have no fixed port
        screen.line("agents: `writ target list` counts them for each target")
    for line in failing_lines(status):
        screen.line(Text(line, style="red"))
    notes = (_notes_not_of_writ, _policy_notes, _refusals_notes, _restarts, _late_operations)
    for note in (line for lines in notes for line in lines(status)):
        screen.line(Text(note, style="yellow"))
    for notice in dict.fromkeys(one.details["control"] for one in status.processes if "control" in one.details):
        screen.line(Text(notice, style="bold yellow"))
    if status.exposed:
        screen.line(Text(status.exposed, style="bold yellow"))
    if status.certificate_ends:
        screen.line(f"NATS's certificate ends {times.date(status.certificate_ends)}")
    if status.journal is None:
        return
    usage = status.journal
    share = control.usage_share(usage)
    number = plural(usage.messages, "event")
    screen.line(f"journal: {number}, {usage.bytes / 1e6:.1f} MB, {share:.1%} of {usage.max_bytes / 1e6:.0f} MB")


def _late_operations(observed: control.InstallationStatus) -> list[str]:
    """Return the executors' notes about the operation that is late longest, one for each, with the command for it."""
    late = [one.details["operations"] for one in observed.processes if "operations" in one.details]
    by_id = {line.rpartition(" ")[2]: line for line in reversed(late)}
    return [f"{line}; see `writ trace {operation_id}`" for operation_id, line in reversed(by_id.items())]


def _notes_not_of_writ(observed: control.InstallationStatus) -> list[str]:
    """Return the failing checks of ready processes whose cause is a host or a request."""
    return [
        f"{one.name}: {check}: {one.failing[check]}{_RETRIES.get(check, '')}"
        for one in observed.processes
        for check in degradation.NOT_OF_WRIT
        if one.ready and check in one.failing
    ]


def _restarts(observed: control.InstallationStatus) -> list[str]:
    """Return a line for each restarted process, with the reason of the last restart."""
    return [
        f"{one.name}: restarted {one.restarts} ×, last {times.span(time.time() - one.restarted_at)} ago: it "
        f"{one.restarted_for}"
        for one in observed.processes
        if one.restarted_at is not None
    ]


def _refusals_notes(observed: control.InstallationStatus) -> list[str]:
    """Return the note that no audit service reads what NATS refuses. One that does is enough."""
    audits = [one for one in observed.processes if one.ready and one.name.startswith("audit")]
    notes = dict.fromkeys(one.details["nats_log"] for one in audits if "nats_log" in one.details)
    return list(notes) if all("nats_log" in one.details for one in audits) else []


def _policy_notes(observed: control.InstallationStatus) -> list[str]:
    """Return the policy services' messages about a policy file not in force, each once."""
    return list(dict.fromkeys(one.details["policy"] for one in observed.processes if "policy" in one.details))

"""`writ agent`: one-time tokens for agents' hosts, and enrolment with them."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import click

from writ_bus.nats.tls import is_loopback, tls_of
from writ_cli.arguments import completed_names, completion
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import in_installation, listing, local
from writ_cli.context.settings import Settings
from writ_cli.installation.access.agent_env import environment
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_client.whole_ids import one_of
from writ_contracts.backends import LOCAL
from writ_contracts.errors import Invalid, TimedOut
from writ_contracts.inventory import Target
from writ_contracts.nearest_name import near
from writ_documents.readers import read_agents, read_inventory
from writ_enrolment.command import FOLDER, token_text
from writ_enrolment.enrolment import agent_variables
from writ_enrolment.enrolment import enrol as enrol_here
from writ_installation.administration.principals import ADMITTED_WITHIN, admitted
from writ_installation.files import tokens
from writ_installation.files.home import is_here
from writ_installation.nats.external_server import LOAD_AGAIN, is_external
from writ_installation.server_access.agent_ca import ca_elsewhere
from writ_installation.server_access.server_tls import check_exposed, check_names, with_scheme
from writ_installation.server_access.urls import checked_servers
from writ_installation.status.server_url import public_url
from writ_trust import enrolment_tickets

LONGEST = 7 * 86400.0
KEPT = 7 * 86400.0


@click.group(cls=CommandGroup)
def agent() -> None:
    """Agents on other hosts: enrol them by one-time tokens, or print their settings."""


agent.add_command(environment)


@agent.command()
@click.argument("pool", shell_complete=completion.pools)
@click.option("--expires", metavar="SPAN", default="1h", show_default=True, help="How long it is valid, at most 7d.")
@click.option("--url", metavar="URL", help="The URL of NATS for that host, if it differs from the one here.")
@in_installation
async def token(settings: Settings, pool: str, expires: str, url: str | None) -> int:
    """Make a one-time token, by which one host may enrol one key of its own for POOL.

    It is shown once. Give it to the host's administrator as you would a password; there: `writ agent enrol`. It permits
    nothing else, and its first use invalidates it.
    """
    await issue_token(settings, pool, expires, url)
    return Exit.DONE


async def issue_token(
    settings: Settings, pool: str, expires: str, url: str | None = None, replaces: str | None = None
) -> None:
    """Make a token and print it. `replaces`: the key which the one that enrols takes the place of. Raises Invalid,
    TimedOut where NATS does not accept it.
    """
    home = settings.home
    targets = read_inventory(home.inventory).targets
    pools = {target.pool for target in targets}
    if pool not in pools:
        hint = near(pool, pools) or "; give one this pool first"
        raise Invalid(f"no target of {home.inventory} has pool {pool!r}{hint}")
    span, now = times.lifetime("--expires", expires), time.time()
    if not 0 < span <= LONGEST:
        raise Invalid(f"a token is valid for at most {times.span(LONGEST)}")
    where = public_url(home) if url is None else with_scheme(home, checked_servers(url))
    if where is None:
        raise Invalid("the URL of NATS for that host is not known: --url nats://HOST:PORT")
    check_names(home, where)
    ca = ca_elsewhere(home, settings.environ)
    check_exposed(where, ca, settings.environ)
    tokens.drop(home, [one for one in tokens.known(home) if one.until < now - KEPT])
    made, text = tokens.make(home, pool, where, now + span, ca, replaces)
    accepted = await admitted(home, f"enrol-{made.id}", enrolment_tickets.read_ticket(text).key.seed)
    external = is_external(home)
    if accepted is False and not external:
        tokens.drop(home, [made])
        raise TimedOut(f"NATS did not accept the new token within {ADMITTED_WITHIN:g} s: is the provisioner running?")
    if settings.screen.json:
        settings.screen.data({"token": text, "id": made.id, "pool": pool, "url": where, "until": made.until})
    else:
        click.echo(text)
        click.echo(f"for pool {pool} at {where}, once, until {times.date(made.until)}: `writ agent enrol`", err=True)
        if external:
            click.echo(f"before its use, and again while the host enrols: {LOAD_AGAIN}", err=True)
        if url is None and all(map(is_loopback, where.split(","))):
            _warn_of_loopback([one for one in targets if one.pool == pool])


def _warn_of_loopback(targets: Sequence[Target]) -> None:
    """Warn where an agent on another host gets an address that only this machine reaches."""
    hosts = [str(one.connection.get("host", one.id)) for one in targets if one.backend == LOCAL]
    if away := [host for host in hosts if not is_here(host)]:
        click.echo(
            f"writ: warning: {away[0]} cannot reach this address: `writ up --listen ADDRESS` serves other hosts,"
            " or --url names the address that they use",
            err=True,
        )


@agent.command("list")
@listing(in_installation)
async def list_all(settings: Settings) -> int:
    """List the agents' keys, and the known tokens."""
    home, now = settings.home, time.time()
    entries = read_agents(home.agents).agents
    found = [(one, _standing(settings, one, now)) for one in tokens.known(home)]
    if settings.screen.json:
        named = [{"token": one.id, "pool": one.pool, "state": state, "until": one.until} for one, state in found]
        settings.screen.data({"agents": entries, "tokens": named})
        return Exit.DONE
    settings.screen.table(("pool", "public key"), [(one.pool, one.key) for one in entries])
    if found:
        rows = [(one.id, one.pool, state, times.date(one.until)) for one, state in found]
        settings.screen.table(("token", "pool", "state", "good until"), rows, drop=("good until",))
    return Exit.DONE


def _standing(settings: Settings, one: tokens.EnrolmentToken, now: float) -> str:
    if (key := tokens.used_for(settings.home, one.id)) is not None:
        return f"used for {key}"
    return "good" if one.until > now else "expired"


@agent.command()
@click.argument("number", metavar="TOKEN_ID", shell_complete=completed_names.enrolment_tokens)
@in_installation
async def revoke(settings: Settings, number: str) -> int:
    """Revoke an unused token; `writ agent list` shows their ids. To remove an agent, remove its entry from
    agents.yaml.
    """
    known = tokens.known(settings.home)
    whole = one_of(number, [one.id for one in known], "token")
    chosen = [one for one in known if one.id == whole]
    if not chosen:
        raise Invalid(f"there is no token {number[:80]!r}", code="not_found")
    tokens.drop(settings.home, chosen)
    return Exit.DONE


@agent.command()
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=FOLDER,
    show_default=True,
    help="The folder for the agent's key and environment.",
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="The token is in this file (-: standard input, which it also is without a terminal).",
)
@local
async def enrol(settings: Settings, folder: Path, token_file: Path | None) -> int:
    """On an agent's host: make a key, and enrol it by a token of `writ agent token`.

    The command prompts for the token: an argument could be read by everybody on the host. The private key stays here.
    The token names the CA of the server. WRIT_TLS_CA (WRIT_TLS_CERT, WRIT_TLS_KEY) name others, for the agent too. On a
    host with the agent and without this command, `writ-enrol` does the same.
    """
    ticket = enrolment_tickets.read_ticket(token_text(token_file))
    joined = await enrol_here(ticket, folder, tls_of(os.environ), agent_variables(os.environ))
    if settings.screen.json:
        settings.screen.data(joined)
    else:
        settings.screen.line(f"this host's agent is enrolled for pool {joined.pool}")
        settings.screen.fields([("private key", joined.key_file), ("environment", joined.environment_file)])
    return Exit.DONE

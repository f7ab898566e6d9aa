"""`writ-enrol`: enrol this host by a one-time token, with nothing installed but the agent."""

import argparse
import asyncio
import getpass
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from writ_bus.nats.tls import tls_of
from writ_contracts.errors import ConfigError, WritError
from writ_enrolment.enrolment import agent_variables, enrol
from writ_trust.enrolment_tickets import read_ticket

LARGEST = 8192
FOLDER = Path("/etc/writ")
INTERRUPTED = 128 + signal.SIGINT


def run(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """Enrol as the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    logging.getLogger().addHandler(logging.NullHandler())  # asyncio's warning for each refused connection says nothing
    try:
        ticket = read_ticket(token_text(options.token_file))
        with _ended_by_ctrl_c():
            joined = asyncio.run(enrol(ticket, options.to, tls_of(environ), agent_variables(environ)))
    except KeyboardInterrupt:  # at the question for the token
        sys.stderr.write("writ-enrol: interrupted\n")
        return INTERRUPTED
    except (WritError, ConfigError, OSError) as error:
        sys.stderr.write(f"writ-enrol: {error}\n")
        return 1
    sys.stdout.write(
        f"this host's agent is enrolled for pool {joined.pool}\npublic key: {joined.key}\n"
        f"private key: {joined.key_file}\nenvironment: {joined.environment_file}\n"
    )
    return 0


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the process at once: an enrolment may be cut anywhere. A process that ignores SIGINT still does.

    `asyncio.run` would raise KeyboardInterrupt inside the event loop at a second SIGINT, and can wait forever then.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _end_process)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_process(number: int, _: FrameType | None) -> None:
    os.write(2, b"writ-enrol: interrupted; the same command with the same token finishes the enrolment\n")
    os._exit(128 + number)


def token_text(path: Path | None) -> str:
    """Read the token from the file, from standard input (`-`, or where that is no terminal), or by asking for it."""
    if path is not None and str(path) != "-":
        return path.read_text()[:LARGEST]
    if path is None and sys.stdin.isatty():
        return getpass.getpass("token: ")
    return sys.stdin.read(LARGEST)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="writ-enrol",
        description="Make a key for the agent of this host, and enrol it by a token of `writ agent token`.",
        epilog="The token is not an argument, since every user on the host could read it. The private key stays here."
        " The token names the CA of the server. WRIT_TLS_CA (WRIT_TLS_CERT, WRIT_TLS_KEY) name others, for the agent"
        " too.",
    )
    parser.add_argument(
        "--to", metavar="FOLDER", type=Path, default=FOLDER, help="of key and environment (%(default)s)"
    )
    parser.add_argument("--token-file", metavar="FILE", type=Path, help="the token is in this file (-: standard input)")
    return parser

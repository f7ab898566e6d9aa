"""`writ audit redecide`: the decisions in a range of the journal, made a second time with the folder's own files."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from msgspec import Struct, field

from writ_bus.nats.bus import NatsBus, connect
from writ_contracts.errors import Untrusted
from writ_contracts.people.directory import PeopleDirectory
from writ_contracts.signing import Signed
from writ_contracts.subjects import JOURNAL
from writ_installation.files.home import Home
from writ_installation.server_access.server_options import options_of
from writ_installation.server_access.server_tls import client_tls
from writ_rules.second_decisions.checker import Checker, SecondDecision
from writ_rules.second_decisions.file_history import FileHistory
from writ_runtime.clocks import ASK_SECONDS
from writ_runtime.files.people_directory import FILE, directory_in, known_directory
from writ_runtime.files.policy_keys import PolicyKeys
from writ_runtime.plugins.entry_points import load_catalogue
from writ_trust.people import BAD
from writ_trust.statements import read

PAGE = 500
MOST_SHOWN = 1_000


class SecondDecisions(Struct, kw_only=True):
    """The result for a range: how many decisions are the same, differ, or are open, and why."""

    first: int = 0
    last: int = 0
    same: int = 0
    differs: int = 0
    open: dict[str, int] = field(default_factory=dict)
    decisions: list[SecondDecision] = field(default_factory=list)
    """Those that differ, the first thousand."""


async def redecide(home: Home, url: str, *, after: int, until: int | None, since: float | None) -> SecondDecisions:
    """Make the decisions after that event a second time, up to `until`, from the time `since` on. Raises WritError."""
    found, reasons = SecondDecisions(), Counter[str]()
    async with _checker(home, url) as (bus, checker):
        while records := await bus.journal.read(JOURNAL, after=after, limit=PAGE):
            for record in records:
                if until is not None and record.sequence > until:
                    break
                found.first, found.last = found.first or record.sequence, record.sequence
                checked = None if since is not None and record.time < since else await checker.check(record)
                if checked is not None:
                    _count(found, reasons, checked)
            after = records[-1].sequence
            if until is not None and after >= until:
                break
    found.open = dict(reasons.most_common())
    return found


def _count(found: SecondDecisions, reasons: Counter[str], checked: SecondDecision) -> None:
    match checked.comparison.result:
        case "same":
            found.same += 1
        case "open":
            reasons[checked.comparison.why] += 1
        case "differs":
            found.differs += 1
            if len(found.decisions) < MOST_SHOWN:
                found.decisions.append(checked)


@asynccontextmanager
async def _checker(home: Home, url: str) -> AsyncIterator[tuple[NatsBus, Checker]]:
    """Yield a connection with audit's key, which may read the journal and the versions of the policy."""
    people = people_directory(home)
    bus = await connect(options_of(home, "audit", url, client_tls(home, os.environ)))
    keys = PolicyKeys(",".join(home.keys_of("policy")), home.keyring_file)
    with tempfile.TemporaryDirectory() as folder:
        kept = home.state / "audit" / "inputs"
        inventory, principals = (
            _history(kept if kept.is_dir() else Path(folder), path) for path in (home.inventory, home.principals)
        )
        try:
            now = await bus.server_time(timeout=ASK_SECONDS)
            yield (
                bus,
                Checker(
                    bus.journal,
                    bus.policies,
                    load_catalogue(),
                    inventory,
                    principals,
                    events=keys.events,
                    versions=keys.versions,
                    installation=home.installation,
                    now=lambda: now,
                    people=lambda: people,
                ),
            )
        finally:
            await bus.drain(1.0)


def people_directory(home: Home) -> PeopleDirectory | None:
    """Return the directory of credentials, verified as audit does: by the pinned people-key or its successors, and as a
    successor of the version that audit has seen. Without a pinned key it is the file as it is. Raises Untrusted.
    """
    if not home.people_key():
        return directory_in(home.people_file)
    with tempfile.TemporaryDirectory() as folder:
        kept = home.state / "audit" / FILE
        if kept.exists():
            (Path(folder) / FILE).write_bytes(kept.read_bytes())
        known = known_directory(Path(folder), home.people_key(), home.installation)
        try:
            signed = msgspec.json.decode(home.people_file.read_bytes(), type=Signed)
        except FileNotFoundError:
            newest = known.value
        except (OSError, msgspec.DecodeError) as error:
            raise Untrusted(f"{home.people_file} is not readable: {error}", code=BAD) from error
        else:
            newest = known.newest(signed)
    return None if newest is None else read(newest.signed, PeopleDirectory)


def _history(folder: Path, path: Path) -> FileHistory:
    """Return audit's copies of the file; where it kept nothing, the present content."""
    history = FileHistory(folder, path)
    if not history.versions:
        history.record_change(time.time())
    return history

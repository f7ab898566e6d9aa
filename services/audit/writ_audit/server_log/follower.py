"""Follow the log of a NATS server, and record what it refuses as security events.

A thief of a key who tries what the key may not do leaves no other trace: nats-server reports a violation of permissions
to its sender and to its log alone.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct

from writ_audit.server_log.delegated_subjects import principal_of
from writ_audit.server_log.file_times import to_monotonic, to_unix
from writ_audit.server_log.followed_logs import FollowedLogs, UnjudgedLogin
from writ_audit.server_log.key_owners import KeyOwners
from writ_audit.server_log.late_replies import LateReplies
from writ_audit.server_log.refusal import FailedLogin, Violation, refusal
from writ_audit.server_log.repeats import LoggedRefusal, repeats
from writ_bus import tasks
from writ_contracts.agents import SecurityKind
from writ_contracts.installation.account_names import AccountOwner, account_owner
from writ_runtime.health import Attention, Detail
from writ_runtime.journal.security_events import SecurityEvents
from writ_runtime.logs import Log

CHECK_EVERY = 0.25
JUDGED_AFTER = 10.0
"""Seconds until a failed login counts: clients with a new key try until NATS has read its configuration again. So long
after a change NATS and a gateway may also differ on who has access.
"""
PAUSE = 0.02
"""Seconds between two reads of a log that grows fast, which bounds the time that they take."""
SAVED_EVERY = 1.0
"""Seconds between two writes of the position."""
MOST_WAITING = 256
UNKNOWN = "a key of nobody known here"
NOT_LOOKED_UP = "a key that was not looked up, since so many are tried"
_DID = {"publish": "publish on", "subscribe": "subscribe to", "reply": "name as reply subject"}
_log = Log("writ.audit")


class WaitingLogin(Struct, kw_only=True):
    """Failed logins by one key from one address, the first of which was `since`."""

    failed: FailedLogin
    since: float = 0.0
    due: float = 0.0
    count: int = 0


class ServerLog:
    """Reads the logs of NATS. Without a path nothing is read, and `check` says so."""

    def __init__(
        self,
        path: Path | None,
        owners: KeyOwners,
        security: SecurityEvents,
        count: Callable[[SecurityKind], None],
        state_dir: Path | None = None,
    ) -> None:
        """`count` gets the kind of each refusal, recorded or not. `state_dir` keeps the position in the log."""
        self._tail = None if path is None else FollowedLogs(path, state_dir)
        self._owners, self._security, self._count = owners, security, count
        self._repeats = repeats(time.monotonic())
        self._late = LateReplies()
        self._waiting: OrderedDict[tuple[str, str], WaitingLogin] = OrderedDict()
        self._by_gateways: list[tuple[Violation, str]] = []
        """Violations of one read by gateways on subjects of a principal, before it is looked up."""
        self._skipped = 0
        self._saved_at = time.monotonic()
        self._problem = ""
        self._stopped_at: float | None = None
        """When the former process stopped, while lines older than this process are read."""
        if self._tail is not None:
            self._continue(self._tail)

    def _continue(self, logs: FollowedLogs) -> None:
        due = time.monotonic() + JUDGED_AFTER
        self._stopped_at = to_monotonic(logs.former.at)
        for one in logs.former.unjudged:
            waiting = WaitingLogin(failed=one.failed, since=to_monotonic(one.at), due=due, count=one.count)
            self._waiting[one.failed.key, one.failed.host] = waiting

    async def run(self) -> None:
        """Read on from where the former process stopped, or from the present end, until cancelled."""
        if self._tail is None:
            await asyncio.Event().wait()
            return
        try:
            await _save_whole(self._tail.save, self._unjudged())  # so that the next process knows where this one began
            await asyncio.to_thread(self._owners.read)
            while True:
                more = await self._read(self._tail)
                files_changed = self._owners.has_changed(time.monotonic())
                if self._by_gateways:
                    await asyncio.to_thread(self._owners.read)
                    self._judge_gateways()
                await self._judge_logins(files_changed=files_changed)
                self._record_left_out()
                if time.monotonic() - self._saved_at >= SAVED_EVERY:
                    await self._save(self._tail)
                await asyncio.sleep(PAUSE if more else CHECK_EVERY)
        finally:
            self._judge_gateways()
            if not self._security.waits:
                self._tail.save(self._unjudged())
            self._tail.close()

    async def check(self) -> str | None:
        """Return why refusals of NATS are not recorded, or None if they are."""
        if self._tail is None:
            return Detail("what NATS refuses is not recorded: WRIT_NATS_LOG is not set")
        if self._problem:
            return Attention(f"what NATS refuses is not recorded: {self._problem}")
        if self._tail.is_standby:
            return Detail("what NATS refuses is recorded by another process, which has locked the folder of its log")
        return None

    async def _save(self, logs: FollowedLogs) -> None:
        """Save the position, unless an event is not recorded yet: the next process reads its line again."""
        if not self._security.waits:
            await _save_whole(logs.save, self._unjudged())
        self._saved_at = time.monotonic()

    def _unjudged(self) -> list[UnjudgedLogin]:
        return [
            UnjudgedLogin(failed=one.failed, at=round(to_unix(one.since)), count=one.count)
            for one in self._waiting.values()
        ]

    async def _read(self, tail: FollowedLogs) -> bool:
        reading = tasks.start(asyncio.to_thread(tail.read), "read the log of NATS")
        try:
            lines, more = await asyncio.shield(reading)
        except asyncio.CancelledError:  # the thread reads on: what it returns is behind the position
            await asyncio.wait([reading])
            if reading.done() and reading.exception() is None:
                self._take_lines(tail, reading.result()[0])
            raise
        except OSError as error:
            self._set_problem(str(error))
            return False
        self._set_problem(tail.problem)
        self._take_lines(tail, lines)
        if not more:
            self._stopped_at = None
        return more

    def _set_problem(self, problem: str) -> None:
        if problem and problem != self._problem:
            _log.warning("nats_log.not_read", error=problem)
        self._problem = problem

    def _take_lines(self, tail: FollowedLogs, lines: list[str]) -> None:
        for line in lines:
            self._take(refusal(line))
        if tail.skipped > self._skipped:
            detail = f"NATS logs faster than audit reads: {tail.skipped - self._skipped} bytes of its log were skipped"
            self._skipped = tail.skipped
            self._record(LoggedRefusal(kind="flood", sender="", detail=detail, proven=True))

    def _take(self, refused: Violation | FailedLogin | None) -> None:
        match refused:
            case Violation():
                self._take_violation(refused)
            case FailedLogin(key=""):
                self._count("authentication_failed")
                named = f", which named {refused.claimed}" if refused.claimed else ""
                detail = f"NATS refused a connection without a key from {refused.host} ({refused.connection}){named}"
                self._record(LoggedRefusal(kind="authentication_failed", sender=refused.host, detail=detail))
            case FailedLogin():
                self._count("authentication_failed")
                self._wait_for(refused)
            case None:
                pass

    def _take_violation(self, violation: Violation) -> None:
        owner = account_owner(violation.account)
        if owner.answers and self._late.is_late(violation):
            return
        sent_for = principal_of(violation) if owner.gateway else None
        if sent_for is not None:
            self._by_gateways.append((violation, sent_for))
        else:
            self._record_violation(violation)

    def _judge_gateways(self) -> None:
        """Record violations by gateways; those for a principal of the gateway as refusals of that principal."""
        too_early = self._owners.access_changed_since(time.monotonic() - JUDGED_AFTER)
        for violation, principal in self._by_gateways:
            serves = self._owners.gateways.get(principal) == account_owner(violation.account).principal
            if not serves:
                self._record_violation(violation)
                continue
            self._count("authentication_failed")
            if too_early:
                _log.info("gateway.too_early", principal=principal, subject=violation.subject)
            else:
                self._record(_refused(violation, "authentication_failed", principal))
        self._by_gateways.clear()

    def _record_violation(self, violation: Violation) -> None:
        self._count("permission_violation")
        self._record(_refused(violation, "permission_violation"))

    def _wait_for(self, failed: FailedLogin) -> None:
        key = (failed.key, failed.host)
        if key not in self._waiting:
            if len(self._waiting) >= MOST_WAITING:  # so many have nothing to do with new keys
                self._record(_failed_login(WaitingLogin(failed=failed, count=1), None, NOT_LOOKED_UP))
                return
            now = time.monotonic()
            since = now if self._stopped_at is None else self._stopped_at
            self._waiting[key] = WaitingLogin(failed=failed, since=since, due=now + JUDGED_AFTER)
        self._waiting[key].count += 1

    async def _judge_logins(self, *, files_changed: bool) -> None:
        now = time.monotonic()
        due = [key for key, one in self._waiting.items() if one.due <= now]
        if not self._waiting or not (due or files_changed):
            return
        tried = {one.failed.key: one.since - JUDGED_AFTER for one in self._waiting.values()}
        admitted = await asyncio.to_thread(self._owners.admitted, tried)
        for key in [key for key in self._waiting if key[0] in admitted]:
            _log.info("login.too_early", key=key[0], count=self._waiting.pop(key).count)
        due = [key for key in due if key in self._waiting]
        found = await asyncio.to_thread(self._owners_of, {key for key, _ in due}) if due else {}
        for key in due:
            owner, kind = found[key[0]]
            self._record(_failed_login(self._waiting.pop(key), owner, kind=kind))

    def _owners_of(self, keys: Iterable[str]) -> dict[str, tuple[AccountOwner | None, SecurityKind]]:
        """Return the owner of each key, and the kind of its refusal."""
        self._owners.read()
        return {key: self._owner_of(key) for key in keys}

    def _owner_of(self, key: str) -> tuple[AccountOwner | None, SecurityKind]:
        """The client of a disabled principal may go on to try."""
        kind: SecurityKind = "principal_disabled" if key in self._owners.disabled else "authentication_failed"
        return self._owners.owner(key), kind

    def _record_left_out(self) -> None:
        for one in self._repeats.due(time.monotonic()):
            self._report(one)

    def _record(self, refused: LoggedRefusal) -> None:
        if (one := self._repeats.take(refused, time.monotonic())) is not None:
            self._report(one)

    def _report(self, refused: LoggedRefusal) -> None:
        self._security.report(refused.kind, refused.detail, None, refused.principal, refused.pool)


async def _save_whole(work: Callable[[list[UnjudgedLogin]], None], unjudged: list[UnjudgedLogin]) -> None:
    """Save in a thread; if this task is cancelled, after that: two threads must not write the file at once."""
    saving = tasks.start(asyncio.to_thread(work, unjudged), "save the position in the log of NATS")
    try:
        await asyncio.shield(saving)
    except asyncio.CancelledError:
        await asyncio.wait([saving])
        raise


def _refused(violation: Violation, kind: SecurityKind, sent_for: str = "") -> LoggedRefusal:
    """Return the violation. `sent_for`: the gateway's own principal for which it was sent, which has no access."""
    owner = account_owner(violation.account)
    why = f"for principal {sent_for}, which has no access now: it is disabled, say " if sent_for else ""
    detail = (
        f'NATS refused {owner.text} to {_DID[violation.verb]} "{violation.subject}" {why}(key {violation.key}, '
        f'{violation.connection} from {violation.host}, client "{violation.client}")'
    )
    return LoggedRefusal(
        kind=kind,
        sender=f"{violation.account} {sent_for}" if sent_for else violation.account,
        detail=detail,
        principal=sent_for or owner.principal,
        pool=owner.pool,
        proven=True,
    )


def _failed_login(
    waiting: WaitingLogin,
    owner: AccountOwner | None,
    otherwise: str = UNKNOWN,
    kind: SecurityKind = "authentication_failed",
) -> LoggedRefusal:
    """Return the refusal of logins by a key. Anybody can name a key, so that of `owner` proves nothing about it."""
    failed = waiting.failed
    whose = f"the key of {owner.text}, without proof of it" if owner is not None else otherwise
    where = f"{failed.connection} from {failed.host}" + (f", {waiting.count} times" if waiting.count > 1 else "")
    return LoggedRefusal(
        kind=kind,
        sender=failed.host if owner is None else f"{failed.key} {failed.host}",
        detail=f"NATS refused a connection that named {whose}: {failed.key} ({where})",
        principal=owner.principal if owner is not None else None,
        pool=owner.pool if owner is not None else None,
    )

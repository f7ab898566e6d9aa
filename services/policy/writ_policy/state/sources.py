"""The present inputs of decisions: the policy version in force, and the other files as last read.

A changed file counts from the next decision: before it the files' stamps are checked (five `stat` calls), once for all
decisions in one turn of the event loop, since their requests arrived before the turn. A large inventory counts from the
first decision after it was read, since decisions do not wait for that.

The policy file is used only until somebody publishes: its content becomes the next stored version. After that, a
different file is reported and not applied.
"""

import asyncio
from collections.abc import Callable
from operator import is_
from typing import Any

from writ_bus import tasks
from writ_contracts.catalogue.control import PrincipalManage
from writ_contracts.errors import ConfigError, WritError
from writ_contracts.notices import Notice
from writ_contracts.policy.versions import of_file
from writ_documents.document import FileErrors
from writ_policy.config import PolicyConfig
from writ_policy.state.credentials_file import CredentialsFile
from writ_policy.state.loading import Compiler, FileReading, with_digest
from writ_policy.state.missing_names import MissingNames
from writ_policy.state.snapshot import PolicySnapshot, compose
from writ_policy.versions.stored_versions import Versions
from writ_rules.policy_reader import return_freed_memory
from writ_runtime.files.watched_file import WatchedFile
from writ_runtime.list_reader import lists
from writ_runtime.logs import Log

INTERVAL = 0.5
LISTS = ("inventory", "principals", "agents")
FILES = ("policy", *LISTS)

Changes = Callable[[], tuple[PrincipalManage, ...]]
"""Returns the changes of principals by control events; the same tuple until there is another change."""

_log = Log("writ.policy")


class PolicySources:
    """Reads all inputs of decisions. Raises ConfigError with all mistakes of all files if the lists cannot be read at
    the start.
    """

    def __init__(
        self,
        config: PolicyConfig,
        compiler: Compiler,
        names: MissingNames,
        send_notice: Callable[[Notice], None],
        on_refusal: Callable[[str], None],
        on_change: Callable[[PolicySnapshot], None],
        clock: Callable[[], float],
        people: CredentialsFile,
    ) -> None:
        """Prepare to read. `on_refusal` receives the name of a file with unusable new content, `on_change` each new
        snapshot.
        """
        self._send_notice, self._on_refusal, self._on_change = send_notice, on_refusal, on_change
        self._clock = clock
        self._installation = config.installation
        self._names = names
        self.people = people
        self._policy_path = config.policy
        self._file = WatchedFile(config.policy, compiler.read)
        self._lists, problems = _watch(config)
        if problems:
            error = self._file.value.error
            raise _together([*([error] if error else []), *problems])
        self._files: list[WatchedFile[Any] | CredentialsFile] = [*self._lists.values(), self.people, self._file]
        self._reported: dict[str, str | None] = {}
        self._unstored: str | None = None
        self._waiting = True
        self._refreshing = asyncio.Lock()
        self._versions: Versions | None = None
        self._snapshot: PolicySnapshot | None = None
        self._composed = 0
        """The number of snapshots."""
        self._made_of: list[Any] = []
        self._changes: Changes = tuple
        self._checked = False
        """No file had changed in this turn of the event loop."""

    @property
    def file(self) -> FileReading:
        return self._file.value

    async def start(self, versions: Versions, changes: Changes) -> None:
        """Use the stored versions, after they were read. Raises ConfigError if there is no policy to decide by."""
        self._versions, self._changes = versions, changes
        if versions.head is None and self.file.error is not None:
            raise self.file.error
        if self.file.error is not None:
            self._refused("policy", self.file.error)
        await self._offer(versions, raising=True)
        self._announce(versions)
        await self.refresh()

    async def refresh(self, *, again: bool = False, waits: bool = False) -> PolicySnapshot:
        """Return the snapshot of the present files and versions. Concurrent callers share one read.

        `again`: retry to store a file that could not be stored. `waits`: also wait for a large inventory that is being
        read.
        """
        versions = self._versions
        if versions is None:
            raise ConfigError("the stored versions are not known yet")
        if (snapshot := self._snapshot) is not None and not again and self._is_current(snapshot, versions):
            return snapshot
        async with self._refreshing:
            await self._read_lists(waits=waits)
            await self.people.refresh()
            if await self._file.refresh():
                self._waiting, self._unstored = self.file.error is None, None
                if self.file.error is not None:
                    self._refused("policy", self.file.error)
            if self._waiting and (self._unstored is None or again):
                await self._offer(versions)
            if self._snapshot is None or not self._is_made_of_present(self._snapshot, versions):
                changes = self._changes()
                self._snapshot, self._made_of = self._compose(versions, changes), self._values(changes)
            return self._snapshot

    def _is_current(self, snapshot: PolicySnapshot, versions: Versions) -> bool:
        """Return true if no file changed and the snapshot is of all of them: the case of nearly every decision."""
        if self._refreshing.locked() or (self._waiting and self._unstored is None):
            return False
        return self._are_files_current() and self._is_made_of_present(snapshot, versions)

    def _are_files_current(self) -> bool:
        """Return true if no file has changed, as of this turn of the event loop."""
        if not self._checked and all(one.is_current for one in self._files):
            self._checked = True
            asyncio.get_running_loop().call_soon(self._end_turn)
        return self._checked

    def _end_turn(self) -> None:
        self._checked = False

    def _is_made_of_present(self, snapshot: PolicySnapshot, versions: Versions) -> bool:
        return snapshot.in_force is versions.current and _same(self._values(self._changes()), self._made_of)

    def _values(self, changes: tuple[PrincipalManage, ...]) -> list[Any]:
        return [*[watched.value for watched in self._lists.values()], self.people.value, changes]

    async def follow(self) -> None:
        """Read every half second until cancelled, so that a bad file is reported even without requests."""
        warning: asyncio.Task[None] | None = None
        trimmed = warned = 0
        try:
            while True:
                if trimmed != self._composed:
                    trimmed = self._composed
                    await asyncio.to_thread(return_freed_memory)
                due = warned != self._composed or self._names.is_due
                if self._snapshot is not None and due and (warning is None or warning.done()):
                    warned = self._composed
                    warning = tasks.spawn(self._names.warn(self._snapshot), "missing names")
                await asyncio.sleep(INTERVAL)
                try:
                    await self.refresh(again=True)
                except WritError as error:
                    _log.warning("sources.unread", error=str(error))
        finally:
            if warning is not None:
                warning.cancel()
                await asyncio.wait([warning])  # it ends the process that has its job

    def problem(self, name: str) -> str | None:
        """Return the problem of the present file if an earlier version is in force, or None."""
        if name == "people":
            return self.people.problem
        if name != "policy":
            return self._lists[name].problem
        return str(self.file.error) if self.file.error is not None else self._unstored

    def ignored(self) -> str | None:
        """Return a note if the policy file is ignored because it differs from a published policy."""
        head = self._versions.head if self._versions else None
        if head is None or head.origin == "file" or self.file.digest in (head.digest, ""):
            return None
        file = f"the policy file {self._policy_path}"
        published = f"version {head.number}, which {head.author} published"
        return f"{file} differs from {published}, and is not used; to use it: `writ policy publish FILE --reason …`"

    async def _read_lists(self, *, waits: bool) -> None:
        for name, watched in self._lists.items():
            await watched.refresh(waits=waits or name != "inventory")
            if watched.problem is not None and watched.problem != self._reported.get(name):
                self._refused(name, None)
            self._reported[name] = watched.problem

    async def _offer(self, versions: Versions, *, raising: bool = False) -> None:
        """Store the file's new content as a version, or report it as not in force. `raising`: at the start, which
        announces the version itself, also one that was stored before.
        """
        if self.file.error is not None:
            self._waiting = False
            return
        try:
            if await versions.add_file(self.file.text, self._clock()) and not raising:
                self._announce(versions)
        except WritError as error:
            if raising:
                raise
            self._unstored = f"it could not be stored as a version: {error}"
            _log.error("policy.file_not_stored", error=str(error), effect="the last version stays")
            return
        self._waiting, self._unstored = False, None
        if not raising and (ignored := self.ignored()) is not None:
            _log.warning("policy.file_ignored", reason=ignored)
            self._send_notice(Notice(kind="file_ignored", detail=ignored, digest=self.file.digest))

    def _announce(self, versions: Versions) -> None:
        head = versions.head
        if head is not None and head.origin == "file":
            self._send_notice(
                Notice(kind="file_version", detail=of_file(head), version=head.number, digest=head.digest)
            )

    def _refused(self, name: str, error: ConfigError | None) -> None:
        """Report a refused file without its mistakes: these may quote it, and go only to the log."""
        self._on_refusal(name)
        problems = error.found if isinstance(error, FileErrors) else ()
        where = f", first in line {problems[0].line}, column {problems[0].column}" if problems else ""
        detail = f"the {name} file cannot be used{where}: the last good version stays in force"
        self._send_notice(Notice(kind="file_refused", detail=detail))

    def _compose(self, versions: Versions, changes: tuple[PrincipalManage, ...]) -> PolicySnapshot:
        if versions.current is None:
            raise ConfigError("no version of the policy is in force")
        inventory, principals, agents = (self._lists[name].value for name in LISTS)
        known = inventory, principals, agents, changes, self.people.value
        snapshot = compose(self._installation, versions.current, *known)
        self._composed += 1
        self._on_change(snapshot)
        return snapshot


def _same(values: list[Any], others: list[Any]) -> bool:
    return len(values) == len(others) and all(map(is_, values, others))


def _watch(config: PolicyConfig) -> tuple[dict[str, WatchedFile[Any]], list[ConfigError]]:
    watched: dict[str, WatchedFile[Any]] = {}
    problems: list[ConfigError] = []
    sorts: tuple[lists.ListKind[Any], ...] = (lists.TARGETS, lists.PRINCIPALS, lists.AGENTS)
    for name, sort in zip(LISTS, sorts, strict=True):
        try:
            watched[name] = WatchedFile(getattr(config, name), with_digest(lists.ListReader(sort)))
        except ConfigError as error:
            problems.append(error)
    return watched, problems


def _together(problems: list[ConfigError]) -> ConfigError:
    all_problems = [problem for error in problems if isinstance(error, FileErrors) for problem in error.found]
    others = [text for error in problems if not isinstance(error, FileErrors) for text in error.problems]
    return FileErrors(*all_problems) if not others else ConfigError(*map(str, all_problems), *others)

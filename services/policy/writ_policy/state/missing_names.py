"""Warnings of names in the policy that the installation lacks. They do not prevent decisions."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial

import msgspec
from msgspec import Raw

from writ_bus.backoff import pause_after
from writ_contracts.errors import WritError
from writ_contracts.inventory import Principal, Target
from writ_contracts.operations import Catalogue
from writ_policy.analysis_process.jobs import Job, MissingNamesReply, first_missing
from writ_policy.analysis_process.pool import AnalysisPool
from writ_policy.state.snapshot import PolicySnapshot
from writ_rules.engine.people import People
from writ_rules.engine.policy_file.format import PolicyDocument
from writ_rules.lint.installation_lint import lint_with
from writ_rules.loading import Mode
from writ_runtime.logs import Log

FIRST_PAUSE, LONGEST_PAUSE = 60.0, 3_600.0
"""Seconds after a failed search: on a busy machine it runs out of time."""

_log = Log("writ.policy")


class MissingNames:
    """Logs the warnings of a snapshot. `warn` searches for them; a search that failed `is_due` again after a pause."""

    def __init__(self, catalogue: Catalogue, mode: Mode, pool: AnalysisPool) -> None:
        """`pool`: finds them for a large policy, whose document is not kept here."""
        self._catalogue = catalogue
        self._mode: Mode = mode
        self._pool = pool
        self._failures = 0
        self._due_at = math.inf

    @property
    def is_due(self) -> bool:
        """Return whether the last search failed, and its pause is over."""
        return asyncio.get_running_loop().time() >= self._due_at

    def warn(self, snapshot: PolicySnapshot) -> Coroutine[None, None, None]:
        """Return the work of a task: to log the warnings. It does not keep the snapshot: the rules would take memory
        beside those of later versions while it waits behind queries.
        """
        return self._warn(self._search(snapshot))

    async def _warn(self, search: Callable[[], Awaitable[MissingNamesReply]]) -> None:
        self._due_at = math.inf
        try:
            found = await search()
        except WritError as error:
            effect = f"missing names in the policy are not reported; tried again in {self._pause():.0f} s"
            _log.warning("policy.lint_undone", error=str(error), effect=effect)
            return
        except Exception as error:  # noqa: BLE001 - decisions do not need it
            _log.error("policy.lint_defect", exception=error, effect="missing names in the policy are not reported")
            return
        self._failures = 0
        for finding in found.findings:
            _log.warning("policy.lint", finding=finding)
        if more := found.count - len(found.findings):
            _log.warning("policy.lint", finding=f"and {more} more: writ policy validate lists all")

    def _pause(self) -> float:
        """Return the seconds until the failed search is due again."""
        pause = pause_after(self._failures, first=FIRST_PAUSE, most=LONGEST_PAUSE)
        self._failures += 1
        self._due_at = asyncio.get_running_loop().time() + pause
        return pause

    def _search(self, snapshot: PolicySnapshot) -> Callable[[], Awaitable[MissingNamesReply]]:
        """Return a call that works them out aside: thousands of rules take seconds, and decisions must go on."""
        targets, principals = list(snapshot.targets.values()), list(snapshot.principals.values())
        if (file := snapshot.policy.file) is not None:
            return partial(asyncio.to_thread, self._found_here, file, targets, principals, snapshot.people)
        job = Job(
            kind="names",
            query=Raw(msgspec.json.encode(None)),
            now=0.0,
            mode=self._mode,
            policy=snapshot.in_force.stored.packed_form,
            targets=targets,
            principals=principals,
            presences=dict(snapshot.people.presences or {}),
            solo=snapshot.people.solo,
        )
        return partial(self._found_beside, job)

    async def _found_beside(self, job: Job) -> MissingNamesReply:
        return await self._pool.work(job, MissingNamesReply)

    def _found_here(
        self, file: PolicyDocument, targets: list[Target], principals: list[Principal], people: People
    ) -> MissingNamesReply:
        return first_missing(lint_with(file, self._catalogue, targets=targets, principals=principals, people=people))

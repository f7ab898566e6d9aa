"""Warnings of names in the policy that the installation lacks. They do not prevent decisions."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial

import msgspec
from msgspec import Raw

from writ_contracts.errors import WritError
from writ_contracts.inventory import Principal, Target
from writ_contracts.operations import Catalogue
from writ_policy.analysis_process.jobs import Job, MissingNamesReply
from writ_policy.analysis_process.pool import AnalysisPool
from writ_policy.state.snapshot import PolicySnapshot
from writ_rules.engine.people import People
from writ_rules.engine.policy_file.format import PolicyDocument
from writ_rules.lint.installation_lint import lint_with, texts
from writ_rules.loading import Mode
from writ_runtime.logs import Log

MOST_WARNINGS = 50

_log = Log("writ.policy")


class MissingNames:
    """Logs the warnings of a snapshot."""

    def __init__(self, catalogue: Catalogue, mode: Mode, pool: AnalysisPool) -> None:
        """`pool`: finds them for a large policy, whose document is not kept here."""
        self._catalogue = catalogue
        self._mode: Mode = mode
        self._pool = pool

    def warn(self, snapshot: PolicySnapshot) -> Coroutine[None, None, None]:
        """Return the work of a task: to log the warnings. It does not keep the snapshot: the rules would take memory
        beside those of later versions while it waits behind queries.
        """
        return self._warn(self._search(snapshot))

    async def _warn(self, search: Callable[[], Awaitable[list[str]]]) -> None:
        try:
            found = await search()
        except WritError as error:
            _log.warning("policy.lint_undone", error=str(error), effect="missing names in the policy are not reported")
            return
        except Exception as error:  # noqa: BLE001 - decisions do not need it
            _log.error("policy.lint_defect", exception=error, effect="missing names in the policy are not reported")
            return
        for finding in found[:MOST_WARNINGS]:
            _log.warning("policy.lint", finding=finding)
        if len(found) > MOST_WARNINGS:
            more = f"and {len(found) - MOST_WARNINGS} more: writ policy validate lists all"
            _log.warning("policy.lint", finding=more)

    def _search(self, snapshot: PolicySnapshot) -> Callable[[], Awaitable[list[str]]]:
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

    async def _found_beside(self, job: Job) -> list[str]:
        return (await self._pool.work(job, MissingNamesReply)).findings

    def _found_here(
        self, file: PolicyDocument, targets: list[Target], principals: list[Principal], people: People
    ) -> list[str]:
        return texts(lint_with(file, self._catalogue, targets=targets, principals=principals, people=people))

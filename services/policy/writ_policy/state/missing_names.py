"""Warnings of names in the policy that the installation lacks. They do not prevent decisions."""

import asyncio

import msgspec
from msgspec import Raw

from writ_contracts.errors import WritError
from writ_contracts.operations import Catalogue
from writ_policy.analysis_process.jobs import Job, MissingNamesReply
from writ_policy.analysis_process.pool import AnalysisPool
from writ_policy.state.snapshot import PolicySnapshot
from writ_rules.engine.policy_file.format import PolicyDocument
from writ_rules.lint.installation_lint import lint_with, texts
from writ_rules.loading import Mode
from writ_runtime.logs import Log

MOST_WARNINGS = 50

_log = Log("writ.policy")


class MissingNames:
    """Logs the warnings of each snapshot."""

    def __init__(self, catalogue: Catalogue, mode: Mode, pool: AnalysisPool) -> None:
        """`pool`: finds them for a large policy, whose document is not kept here."""
        self._catalogue = catalogue
        self._mode: Mode = mode
        self._pool = pool
        self._warned: PolicySnapshot | None = None

    async def warn(self, snapshot: PolicySnapshot) -> None:
        """Log the warnings, unless those of this snapshot were."""
        if snapshot is self._warned:
            return
        self._warned = snapshot
        try:
            found = await self._found(snapshot)
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

    async def _found(self, snapshot: PolicySnapshot) -> list[str]:
        """Return the findings, worked out aside: thousands of rules take seconds, and decisions must go on."""
        if snapshot.policy.file is not None:
            return await asyncio.to_thread(self._found_here, snapshot, snapshot.policy.file)
        job = Job(
            kind="names",
            query=Raw(msgspec.json.encode(None)),
            now=0.0,
            mode=self._mode,
            policy=snapshot.in_force.stored.document,
            targets=list(snapshot.targets.values()),
            principals=list(snapshot.principals.values()),
            presences=dict(snapshot.people.presences or {}),
            solo=snapshot.people.solo,
        )
        return (await self._pool.work(job, MissingNamesReply)).findings

    def _found_here(self, snapshot: PolicySnapshot, file: PolicyDocument) -> list[str]:
        targets, principals = snapshot.targets.values(), snapshot.principals.values()
        found = lint_with(file, self._catalogue, targets=targets, principals=principals, people=snapshot.people)
        return texts(found)

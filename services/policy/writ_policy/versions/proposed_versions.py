"""Proposed policies. They are checked before a publish is allowed, so that every stored version loads.

A process does it (`analysis_process`): a document may take seconds and much memory, and its author may be anyone who
can request a publish. A document that may be put in force now is then compiled here, so that its version counts at
once.
"""

import asyncio
import time
import zlib
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Raw, Struct

from writ_contracts.errors import ConfigError, Invalid
from writ_contracts.ids import Digest
from writ_contracts.inventory import Principal
from writ_contracts.policy.versions import document_in
from writ_policy.analysis_process.jobs import DocumentCheck, Job, ProposedDocument
from writ_policy.analysis_process.pool import AnalysisPool
from writ_policy.versions.stored_versions import Versions
from writ_rules.engine.compile import Policy
from writ_rules.engine.people import People
from writ_rules.loading import Mode
from writ_trust.digests import plain_digest

CHANGES = ("policy_publish", "policy_rollback")
PASSED_SECONDS = 60.0


class CompileProposal(Protocol):
    """Compiles a document with this name, of which `known` is the prepared form, if there is one."""

    def __call__(self, text: str, name: str, *, known: bytes = b"") -> Policy:
        """Return the policy. Raises ConfigError."""


class PassedCheck(Struct, frozen=True, eq=False):
    """A document that passed the check, with its prepared form. `people`: those for which lockouts were looked for."""

    digest: Digest
    prepared: bytes
    at: float
    principals: Mapping[str, Principal]
    people: People

    def covers(self, document: str, principals: Mapping[str, Principal], people: People, now: float) -> bool:
        """Return true if the document passed a moment ago: executors have it decided again before they store it."""
        same_people = self.principals == principals and self.people is people
        return self.digest == _digest(document) and same_people and abs(now - self.at) <= PASSED_SECONDS


class ProposedVersions:
    """Checks documents to publish and versions to restore."""

    def __init__(self, versions: Versions, compile_text: CompileProposal, mode: Mode, pool: AnalysisPool) -> None:
        """Check in `pool`, in this mode. `compile_text` receives a document, its name and what the process prepared of
        it, and keeps the policy.
        """
        self._versions = versions
        self._compile = compile_text
        self._mode: Mode = mode
        self._pool = pool
        self._compiling = asyncio.Lock()
        self._passed: PassedCheck | None = None

    async def check(
        self,
        operation: str,
        parameters: dict[str, Any],
        principals: Mapping[str, Principal],
        people: People,
        now: float,
        *,
        compiles: bool,
    ) -> None:
        """Check a publish or rollback. `compiles`: nothing but its record is missing, so the version comes next.

        Raises Invalid: `conflict` if another version is in force than the author expects, `not_found`, and
        `invalid_document` with all mistakes, or if none of these people could govern under it. Raises Invalid, Full and
        WritError as `AnalysisPool.work` does.
        """
        current = self._versions.head.number if self._versions.head else 0
        if operation == "policy_publish":
            replaces = parameters.get("replaces")
            if replaces is not None and replaces != current:
                raise Invalid(f"version {current} is in force, not {replaces}", code="conflict")
            document, name = parameters["document"], "document"
        else:
            number = parameters["version"]
            if number == current:
                raise Invalid(f"version {number} is in force", code="conflict")
            document, name = await self._earlier(number), f"version {number}"
        passed = self._passed
        if passed is None or not passed.covers(document, principals, people, now):
            passed = await self._check(ProposedDocument(document=document, name=name), principals, people, now)
        if compiles:
            async with self._compiling:
                await asyncio.to_thread(self._prepare, document, name, passed.prepared)

    async def _earlier(self, number: int) -> str:
        version = await self._versions.find(number)
        if version is None:
            raise Invalid(f"there is no valid version {number} of the policy", code="not_found")
        return version.document

    async def _check(
        self, proposed: ProposedDocument, principals: Mapping[str, Principal], people: People, now: float
    ) -> PassedCheck:
        job = Job(
            kind="check",
            query=Raw(msgspec.json.encode(proposed)),
            now=now,
            mode=self._mode,
            principals=list(principals.values()),
            presences=dict(people.presences or {}),
            solo=people.solo,
        )
        began = time.monotonic()
        done, prepared = await self._pool.result(job, DocumentCheck)
        if done.reason:
            raise Invalid(done.reason, code="invalid_document", problems=done.problems)
        ended = now + time.monotonic() - began
        self._passed = PassedCheck(_digest(proposed.document), prepared, ended, principals, people)
        return self._passed

    def _prepare(self, document: str, name: str, prepared: bytes) -> None:
        known = zlib.decompress(prepared) if prepared else b""
        try:
            self._compile(document_in(document), name, known=known)
        except ConfigError as error:
            problems = [(1, 1, str(error))]
            raise Invalid(f"the {name} does not load", code="invalid_document", problems=problems) from error


def _digest(document: str) -> Digest:
    return plain_digest(document.encode(errors="surrogatepass"))

"""Proposed policies. They are compiled before a publish is allowed, so that every stored version loads.

One at a time and in a thread: a document may take seconds, and decisions must not wait for it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from writ_contracts.errors import ConfigError, Invalid
from writ_contracts.inventory import Principal
from writ_contracts.operations import Catalogue
from writ_contracts.policy.versions import document_in
from writ_documents.document import FileErrors
from writ_policy.lockouts import find_lockouts
from writ_policy.versions.stored_versions import Versions
from writ_rules.engine.compile import Policy
from writ_rules.engine.people import People

MOST_PROBLEMS = 200
CHANGES = ("policy_publish", "policy_rollback")


class ProposedVersions:
    """Checks documents to publish and versions to restore."""

    def __init__(self, versions: Versions, compile_text: Callable[[str, str], Policy], catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._versions = versions
        self._compile = compile_text
        self._one = asyncio.Semaphore(1)

    async def check(
        self, operation: str, parameters: dict[str, Any], principals: Sequence[Principal], people: People, now: float
    ) -> None:
        """Check a publish or rollback.

        Raises Invalid: `conflict` if another version is in force than the author expects, `not_found`, and
        `invalid_document` with all mistakes, or if none of these people could govern under it.
        """
        current = self._versions.head.number if self._versions.head else 0
        if operation == "policy_publish":
            replaces = parameters.get("replaces")
            if replaces is not None and replaces != current:
                raise Invalid(f"version {current} is in force, not {replaces}", code="conflict")
            await self._compiled(document_in(parameters["document"]), "document", principals, people, now)
        else:
            number = parameters["version"]
            if number == current:
                raise Invalid(f"version {number} is in force", code="conflict")
            await self._compiled(await self._earlier(number), f"version {number}", principals, people, now)

    async def _earlier(self, number: int) -> str:
        version = await self._versions.find(number)
        if version is None:
            raise Invalid(f"there is no valid version {number} of the policy", code="not_found")
        return version.document

    async def _compiled(
        self, text: str, name: str, principals: Sequence[Principal], people: People, now: float
    ) -> None:
        async with self._one:
            try:
                policy = await asyncio.to_thread(self._compile, text, name)
            except ConfigError as error:
                raise _invalid(name, error) from error
            found = await asyncio.to_thread(find_lockouts, policy, self._catalogue, principals, now, people)
        if found:
            reason = f"the {name} would lock this installation: {found[0].text}"[:1000]
            problems = [(1, 1, one.text[:500]) for one in found]
            raise Invalid(reason, code="invalid_document", problems=problems)


def _invalid(name: str, error: ConfigError) -> Invalid:
    """Return an error whose message, which is recorded, names only the place. The mistakes may quote the document and
    are sent only to its author.
    """
    if not isinstance(error, FileErrors):
        return Invalid(f"the {name} does not load", code="invalid_document", problems=[(1, 1, str(error))])
    problems = [(problem.line, problem.column, problem.message[:500]) for problem in error.found]
    first = error.found[0]
    many = f"{len(problems)} mistakes, the first" if len(problems) > 1 else "a mistake"
    reason = f"the {name} does not load: {many} in line {first.line}, column {first.column}"
    return Invalid(reason, code="invalid_document", problems=problems[:MOST_PROBLEMS])

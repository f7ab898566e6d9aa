"""The jobs of the analysis process and their results, as they pass between it and the service."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from msgspec import Raw, Struct, field

from writ_contracts.inventory import Principal, Target
from writ_contracts.people.credentials import Presence
from writ_rules.engine.people import People, people_of
from writ_rules.engine.policy_file.findings import LintFinding
from writ_rules.lint.installation_lint import texts
from writ_rules.loading import Mode

Kind = Literal["validate", "test", "allowed", "who_can", "diff", "check", "names"]
LARGEST_ANSWER = 1_500_000
"""The most bytes of a reply. The NATS server accepts messages up to 2 MB."""
CPU_SECONDS = 30.0
"""Processor time of one job. The process dies by SIGPROF beyond it."""

MOST_NAMES = 50
"""The most missing names in a reply: the log has no use for more."""

LESS: Mapping[Kind, str] = MappingProxyType(dict.fromkeys(("check", "names"), "write fewer rules, or smaller patterns"))
LESS_QUERIED = "query fewer targets, principals or operations"


def less_of(kind: Kind) -> str:
    """Return advice for a job that needs too much."""
    return LESS.get(kind, LESS_QUERIED)


class ProposedDocument(Struct, frozen=True, kw_only=True):
    """The query of a `check`: a document that somebody proposes. `document` may be in its packed form."""

    document: str
    name: str


class DocumentCheck(Struct, frozen=True, kw_only=True):
    """The reply to it: `reason` is empty if the document may be put in force. `problems`: line, column, message."""

    reason: str = ""
    problems: list[tuple[int, int, str]] = field(default_factory=list)


class MissingNamesReply(Struct, frozen=True, kw_only=True):
    """The reply to `names`: what in the policy in force names nothing of the installation. `count`: of all findings,
    of which the first are listed.
    """

    findings: list[str] = field(default_factory=list)
    count: int = 0


def first_missing(findings: Sequence[LintFinding]) -> MissingNamesReply:
    """Return the reply with these findings."""
    return MissingNamesReply(findings=texts(findings[:MOST_NAMES]), count=len(findings))


class Job(Struct, frozen=True, kw_only=True):
    """A job for one query.

    `policy` is the document in force, `others` the two sides of a diff, `now` Unix seconds.
    """

    kind: Kind
    query: Raw
    now: float
    mode: Mode
    policy: str = ""
    others: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    principals: list[Principal] = field(default_factory=list)
    presences: dict[str, tuple[Presence, ...]] = field(default_factory=dict)
    """The presence that the enrolled credentials of each person can prove."""
    solo: bool = False
    seen_by: str = ""
    """Limit the result to rules that may concern this principal; None for no limit."""

    def people(self) -> People:
        """Return the possible approvers."""
        return people_of(self.principals, self.presences, solo=self.solo)


class JobResult(Struct, frozen=True, kw_only=True):
    """The reply in its wire form, or an error in place of it."""

    answer: Raw = Raw(b"null")
    prepared: bytes = b""
    """Beside the reply to a `check` that the document passed, if it is large: the policy in it, compressed."""
    code: str = ""
    message: str = ""

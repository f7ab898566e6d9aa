"""Notices by which policy, audit and the provisioner have executors record something in the journal."""

from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from writ_contracts.catalogue.control import ControlId
from writ_contracts.extensible import Extensible
from writ_contracts.ids import Digest, OperationId, PoolId, PrincipalId, PublicKey
from writ_contracts.installation.enrolment import TokenId
from writ_contracts.requests import Failure

NoticeKind = Literal[
    "file_refused",
    "version_refused",
    "file_ignored",
    "file_version",
    "read_refused",
    "emergency_closed",
    "agent_enrolled",
    "session_idle",
    "enrolment_refused",
    "people_version",
    "people_refused",
    "keys_changed",
    "events_removed",
]
"""`file_refused`: a changed file cannot be used. `version_refused`: a stored policy version has no valid signature.
`file_ignored`: the policy file differs from the published version. `file_version`: the file became a version.
`read_refused`: a principal may not read a record. `emergency_closed`: an emergency is over.
`agent_enrolled`: a host's key was enrolled for a pool. `session_idle`: a session was idle for too long.
`enrolment_refused`: a bad token, or one used for another purpose. `people_version`: another version of the directory
of people's credentials is in force. `people_refused`: its file has one that does not hold. `keys_changed`: a key is
announced, in use or rotated. `events_removed`: an operator removes events of the journal that no archive has.
An event that a stolen executor key could suppress is no notice: policy and audit store it themselves.
"""
OF_CONTROL: frozenset[str] = frozenset(
    {"file_version", "emergency_closed", "people_version", "keys_changed", "session_idle", "agent_enrolled"}
)
"""Kinds that are recorded as control events. Decisions depend on some of them. The others become security events."""
BY_PROVISIONER: frozenset[str] = frozenset({"agent_enrolled", "enrolment_refused", "session_idle", "events_removed"})
BY_POLICY: frozenset[str] = frozenset(get_args(NoticeKind)) - BY_PROVISIONER
BY_AUDIT: frozenset[str] = frozenset({"read_refused"})


class Notice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """On `writ.notice.policy`, `….audit` or `….keeper`, on which nobody else may send; `detail` holds no secrets."""

    kind: Extensible[NoticeKind]
    detail: Annotated[str, Meta(max_length=1000)]
    principal: PrincipalId | None = None
    version: int | None = None
    digest: Digest | None = None
    pool: PoolId | None = None
    key: PublicKey | None = None
    token: TokenId | None = None
    emergency: ControlId | None = None
    session: OperationId | None = None


class NoticeReply(Struct, frozen=True, kw_only=True):
    """It is in the journal; or an error."""

    sequence: int = 0
    error: Failure | None = None

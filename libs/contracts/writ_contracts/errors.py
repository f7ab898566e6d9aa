"""The errors that cross a boundary in Writ, one class per reaction of a caller.

    WritError                 base; `code` names the reason, `retry`: another try can help
    ├── Invalid               the message itself is wrong: change it (exit status 2)
    ├── Denied                policy denies, or a permission is missing (3)
    ├── Untrusted             a signature, key or binding does not hold: refuse, and record a security event
    ├── Conflict              somebody else wrote first: read again, then decide
    ├── Unreachable           no receiver replied: try later (6)
    ├── TimedOut              sent, and no reply came in time: the effect is unknown
    └── Full                  a limit is reached: try later

Only `code`, `message` and `retry` cross the wire; tracebacks and foreign exceptions never do.
"""

from collections.abc import Sequence
from typing import ClassVar


class ConfigError(Exception):
    """Raised when the process cannot start as configured; `problems` has one line for each mistake. Exit status 2."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class WritError(Exception):
    """Base of all: `code` is a stable word from `CODES`, the message names the problem, its object and the reason."""

    default_code: ClassVar[str] = "internal"
    retry: ClassVar[bool] = False

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code


class Invalid(WritError):
    """Raised when the message cannot be understood or breaks its schema; sending it again unchanged cannot help."""

    default_code = "invalid"

    def __init__(self, message: str, *, code: str | None = None, problems: Sequence[tuple[int, int, str]] = ()) -> None:
        """`problems`: mistakes in a document, as (line, column, message)."""
        super().__init__(message, code=code)
        self.problems = tuple(problems)


class Denied(WritError):
    """Raised when a rule, or the absence of one, forbids it."""

    default_code = "denied"


class Untrusted(WritError):
    """Raised when a signature, a key or its binding does not hold."""

    default_code = "bad_signature"


class Conflict(WritError):
    """Raised when another writer was first."""

    default_code = "conflict"


class Unreachable(WritError):
    """Raised when the peer is not there; nothing was done."""

    default_code = "unavailable"
    retry = True


class TimedOut(WritError):
    """Raised when no reply came in time; the effect is unknown."""

    default_code = "timeout"
    retry = True


class Full(WritError):
    """Raised when a limit (journal bytes, requests a second, open operations) is reached; nothing was done."""

    default_code = "full"
    retry = True


CODES: dict[str, str] = {
    "internal": "a defect in Writ; the log of the named service has the details",
    "invalid": "the message cannot be decoded or breaks its schema",
    "oversize": "the message is larger than its kind may be",
    "unknown_operation": "no such operation in the catalogue",
    "unknown_target": "no such target in the inventory",
    "unknown_principal": "no such principal, or the request came from another key than its own",
    "no_principal": "the request names a principal that does not exist",
    "principal_disabled": "this principal, or the human that it acts for, is disabled",
    "lock_out": "after this change nobody could administer the installation any more",
    "invalid_parameters": "the parameters break the operation's schema",
    "unsupported": "the target does not offer this operation",
    "not_declared": "the target's inventory entry does not declare what this needs",
    "plugin_mismatch": "the agent has another build of a plugin than policy accepts",
    "conflict": "the same idempotency key was used for another request, or another version than expected is in force",
    "invalid_document": "the policy document does not load",
    "session_expired": "the session whose key sent this is over",
    "policy_silent": "policy does not reply, and only policy knows which targets the principal may list",
    "too_many_sessions": "the principal has as many open sessions as the policy allows",
    "key_mismatch": "the request came from another key than the principal's",
    "allowed": "rules allow it",
    "allowed_by_default": "no rule covers it, and the policy has deny_by_default: false",
    "own": "a principal may always read and cancel its own operations",
    "approval_required": "it needs an approval first",
    "approved": "rules allow it, and the approvals that they require were given",
    "facts_needed": "a rule depends on a listing of the target, which was not read yet",
    "stopped": "a stop in force covers this request",
    "dry_run": "a dry run starts nothing",
    "denied": "a rule denies it",
    "no_rule": "no rule allows it",
    "rule_error": "a rule that covers it could not be evaluated, which denies",
    "dry_run_disabled": "the policy does not allow dry runs",
    "policy_inactive": "the policy is not in effect at this time (effective_from, expires_at)",
    "outside_gateway_limits": "no rule of the target's gateway covers this request",
    "approval_unavailable": "it needs an approval, and nobody could give it",
    "awaiting_approval": "it waits for an approval",
    "not_approved": "it was not approved in time",
    "rejected": "an approver rejected it",
    "stale": "the operation would start with another effect than it was requested or approved with",
    "not_approver": "this principal may not approve or reject this operation, or not yet",
    "preview_missing": "no agent has signed a preview of it yet, and an approval needs one",
    "preview_incomplete": "its preview is incomplete or not valid: it can only be rejected",
    "decided": "it was approved or rejected before",
    "bad_approval": "the approval is for something else, or its signature is not valid",
    "signature_required": "this needs the principal's own signature",
    "bad_signature": "a signature is not valid",
    "other_installation": "the signed statement is for another installation, or names none",
    "people_only": "only a person may do this, not an agent or a service",
    "too_long": "its duration is longer than the policy allows",
    "no_window": "by the policy, an approval window does not count for this operation",
    "too_many_uses": "it requests more uses than the policy allows",
    "window_over": "its approval window is over or has no use left",
    "review_pending": "this person's last emergency is not over, or its review is not signed off",
    "own_emergency": "the person who declared the emergency may not do this; another one must",
    "proof_too_weak": "the signature is valid, but it proves less presence of a person than required",
    "stale_statement": "the principal's signature is too old",
    "damaged": "a file of Writ was damaged or changed",
    "forged_claim": "the claim does not come from an agent of the target's pool",
    "forged_start": "the journal lacks the events that must precede the start that an executor requests",
    "moved_on": "the operation no longer waits for this claim",
    "texts_needed": "policy has to read a large text that the request leaves out, or this replica has not kept it",
    "too_soon": "the previous attempt may still run",
    "forged_listing": "a listing does not come from the target's agents, or not for this decision",
    "for_people": "this cannot be requested over MCP: a person does it with `writ`",
    "token_limit": "the token of the MCP client is not for this operation or target",
    "read_only": "this MCP server is read-only, and the operation changes its target",
    "rate_limited": "this principal sends too many messages a second",
    "too_much": "the query takes longer than its time limit",
    "busy": "too many reads of this target run or wait",
    "too_many_open": "the principal or the pool has too many open operations",
    "full": "the journal is nearly full: `writ journal archive`",
    "not_stored": "NATS answers and stores nothing in a stream, as after a full disk: make room, then restart NATS",
    "unavailable": "a service that is needed does not reply",
    "timeout": "no reply in time",
    "behind": "this replica has not read the latest control events yet",
    "no_agent": "no agent of the pool was online in time",
    "limit_reached": "a limit of the rule that allows it was used up until the deadline",
    "not_claimed": "agents of the pool were online, but none was free in time, or its claim was refused",
    "gone": "the operation has changed its state, and there is nothing left to start",
    "not_found": "no such operation, or you may not read it",
    "grant_refused": "the agent refused its grant and ran nothing",
    "look_expired": "the read grant has expired",
    "not_begun": "the agent got no reply to its claim, and ran nothing",
    "not_confirmed": "it was cancelled, and its end on the host was not observed",
    "agent_stopped": "its agent was stopped while the operation ran",
    "agent_restarted": "its agent ended while the operation was in flight",
    "spool_failed": "the agent could not write its intent to disk, so it ran nothing",
    "lost": "the agent sent no more heartbeats while it ran",
    "restored": "it was open in the backup from which Writ was restored",
    "cancelled": "it was cancelled",
    "not_cancellable": "it has already ended",
}
"""Every code of Writ's own services; a backend adds its own for failures on the host."""

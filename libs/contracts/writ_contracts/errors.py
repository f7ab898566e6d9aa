"""The errors that cross a boundary in Writ, one class per reaction of a caller.

    WritError                 base; `code` names the reason, `retry`: another try can help
    ├── Invalid               the message itself is wrong: change it (exit status 2)
    ├── Denied                policy denies, or a permission is missing (3)
    ├── Untrusted             a signature, key or binding does not hold: refuse, and record a security event
    ├── Conflict              somebody else wrote first: read again, then decide
    ├── Unreachable no receiver replied: try later (6)
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
    "internal": "a defect in Writ; the log of the service named has the details",
    "invalid": "the message cannot be decoded or breaks its schema",
    "oversize": "the message is larger than its kind may be",
    "unknown_operation": "no such operation in the catalogue",
    "unknown_target": "no such target in the inventory",
    "unknown_principal": "no such principal, or its key is not the one that sent this",
    "principal_disabled": "this principal, or the human that it acts for, is disabled",
    "lock_out": "nobody could govern the installation any more after it",
    "invalid_parameters": "the parameters break the operation's schema",
    "unsupported": "the target does not offer this operation",
    "plugin_mismatch": "the agent has another build of a plugin than policy accepts",
    "conflict": "the same idempotency key was used for another request, or another version than expected is in force",
    "invalid_document": "the policy document does not load",
    "session_expired": "the session by whose key this was requested is over",
    "policy_silent": "policy does not answer, and it alone knows which targets may be listed",
    "too_many_sessions": "the principal has as many open sessions as the policy allows",
    "key_mismatch": "the key that sent this is not that of the principal",
    "allowed": "rules allow it",
    "allowed_by_default": "no rule covers it, and the policy allows what none covers",
    "own": "one's own may always be read and cancelled",
    "approval_required": "somebody must approve it first",
    "approved": "rules allow it, and the people that they ask have approved it",
    "facts_needed": "a rule asks for what the target lists, and nobody has asked the target yet",
    "stopped": "a stop is in force for this target",
    "dry_run": "a dry run starts nothing",
    "denied": "a rule denies it",
    "no_rule": "no rule allows it",
    "rule_error": "a rule that covers it could not be evaluated, which denies",
    "dry_run_disabled": "the policy does not allow dry runs",
    "policy_inactive": "the policy is outside its own time",
    "outside_gateway_limits": "no rule of the gateway covers it as asked",
    "approval_unavailable": "it needs an approval and nobody could give one",
    "awaiting_approval": "it waits for an approval",
    "not_approved": "it was not approved in time",
    "rejected": "an approver rejected it",
    "stale": "what was approved is not what would start now",
    "not_approver": "this principal may not decide on this operation, or not yet",
    "preview_missing": "no agent has signed a preview of it yet, and nobody may approve what nobody could see",
    "preview_incomplete": "its preview does not show everything, or does not hold: it can only be rejected",
    "decided": "it was decided before",
    "bad_approval": "the signed approval is about something else, or its signature does not hold",
    "signature_required": "this needs the principal's own signature",
    "bad_signature": "a signature does not hold",
    "other_installation": "what was signed is for another installation, or names none",
    "people_only": "only a person may do this, no agent and no service",
    "too_long": "it would last longer than the policy allows",
    "no_window": "the policy lets no approval window stand for the approval of this operation",
    "too_many_uses": "it asks for more uses than the policy allows",
    "window_over": "its approval window is over or has no use left",
    "review_pending": "this person's last emergency is not over, or its review is not signed off",
    "own_emergency": "another person than the one who declared the emergency must do this",
    "proof_too_weak": "a signature holds but proves less presence of a person than is demanded",
    "stale_statement": "the principal's signature is too old",
    "damaged": "a file of Writ's is not as it was made",
    "forged_claim": "the claim is not one of an agent of the target's pool",
    "forged_start": "the journal does not bear the start that an executor asks for",
    "moved_on": "the operation does not wait for this claim any more",
    "texts_needed": "this replica of policy does not have the large texts that the question leaves out",
    "too_soon": "the attempt before it may still run",
    "forged_listing": "a listing is not one that the target's agents made for this decision",
    "for_people": "nobody can request this over MCP: a person does it with `writ`",
    "token_limit": "the token of the MCP client is not for this operation or target",
    "read_only": "this MCP server requests only what changes nothing",
    "rate_limited": "this principal asks too often",
    "too_much": "it takes longer to work out than such a question may",
    "busy": "more reads of this target are under way or wait than there may be",
    "too_many_open": "the principal or the pool has too many open operations",
    "full": "the journal is nearly full: `writ journal archive`",
    "not_stored": "NATS answers and stores nothing, as after a full disk: make room, then restart NATS",
    "unavailable": "a part of Writ that is needed does not answer",
    "timeout": "no answer in time",
    "behind": "this replica has not seen the latest control events yet",
    "no_agent": "no agent of the pool was there in time",
    "limit_reached": "a limit of the rule that allows it left no room for it in time",
    "not_claimed": "agents were there, none was free in time",
    "gone": "the operation has moved on; nothing is left to start",
    "not_found": "no such operation, or not yours to read",
    "grant_refused": "the agent refused the grant that it got, and ran nothing",
    "look_expired": "the permission to look at a host is no longer good",
    "not_begun": "the agent got no answer to its claim, and ran nothing",
    "not_confirmed": "it was stopped on request and was not seen to end",
    "agent_stopped": "its agent had to stop",
    "agent_restarted": "its agent ended while the operation was in flight",
    "spool_failed": "the agent's disk could not keep what it was about to do, so it ran nothing",
    "lost": "the agent fell silent while it ran",
    "restored": "it had not ended when the backup was made from which Writ was restored",
    "cancelled": "it was cancelled",
    "not_cancellable": "it has already ended",
}
"""Every code of Writ's own services; a backend adds its own for failures on the host."""

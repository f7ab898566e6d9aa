"""The agreement of a recorded end with the agent's signed receipt, or finding of a probe, in it. Pure.

The executor writes the event, and the agent signs the other: an honest executor copies one into the other.
"""

from writ_contracts.agents import ProbeFinding, Receipt
from writ_contracts.journal import Finished, Resolved, Unknown
from writ_contracts.wire import canonical

End = Finished | Unknown | Resolved


def receipt_problem(event: End, receipt: Receipt) -> str:
    """Return how the end differs from its receipt; "" if it does not.

    At audit level `minimal` an end has no output and no state. A success that is recorded as unknown is a difference,
    but another outcome may become unknown: an earlier attempt may have taken effect.
    """
    if isinstance(event, Unknown):
        return "says that the operation succeeded" if receipt.outcome == "succeeded" else ""
    if event.outcome != receipt.outcome:
        return f"says {receipt.outcome[:40]}"
    pairs = {
        "code": event.code == receipt.code,
        "message": event.message == receipt.message,
        "digest of the output": event.output_digest in ("", receipt.output_digest),
        "output": not event.output or canonical(event.output) == canonical(receipt.output),
        "state": not event.state or canonical(event.state) == canonical(receipt.state),
    }
    different = [name for name, equal in pairs.items() if not equal]
    return f"has another {', '.join(different)}" if different else ""


def finding_problem(event: Finished | Resolved, finding: ProbeFinding) -> str:
    """Return how the end differs from the finding of its probe; "" if it does not."""
    if finding.operation_id != event.operation_id:
        return "is of another operation"
    is_same = (finding.verdict, event.outcome) in (("took_effect", "succeeded"), ("no_effect", "failed"))
    return "" if is_same else f"says {finding.verdict[:40]}"

"""What the runtime asks of whoever carries operations out: the port `Backend`, and the powers it may have besides.

A backend trusts the task that it gets: policy's signature, the parameters and the target have been checked. What it
says of the effect must be true: `failed` only for what did not happen, `succeeded` only for what was seen to.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec
from msgspec import Struct, field

from writ_agent.backends.target_health import TargetHealth
from writ_contracts.agents import ReceiptOutcome
from writ_contracts.backends import TargetTestStep
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_contracts.operations import Operation
from writ_contracts.parameters import Parameters

Effect = Literal["none", "done", "maybe"]
Verdict = Literal["took_effect", "no_effect", "unknown"]
Progress = Callable[[str], None]
"""Tell the requester how far it is: public words, at any rate; the runtime thins them out. Never blocks."""


class Task(Struct, frozen=True, kw_only=True):
    """One thing to do. For a baseline and a probe `parameters` are only the public ones.

    `timeout` in seconds is the runtime's to enforce; it is here for those who can pass it on to the host. `baseline`:
    what the claim told of the target; policy has decided knowing it.
    """

    operation_id: str
    attempt: int
    operation: Operation
    target: Target
    parameters: Mapping[str, Any]
    timeout: float
    baseline: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, kind: type[Parameters] | None = None) -> Any:
        """The parameters as the operation's struct."""
        return msgspec.convert(dict(self.parameters), kind or self.operation.parameters)


class Done(Struct, frozen=True, kw_only=True):
    """How it went. `output` is all of it, secrets included; `state` and `message` hold public words only.

    `cancelled` is for what was told to stop and did. `over`: nothing of it goes on any more.
    """

    outcome: ReceiptOutcome
    output: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    message: str = ""
    effect: Effect = "none"
    over: bool = True


class Probed(Struct, frozen=True, kw_only=True):
    """Whether an operation took effect, as the host shows it now."""

    verdict: Verdict
    seen: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Handler(Protocol):
    """What carries out an operation, or several."""

    async def run(self, task: Task, progress: Progress) -> Done:
        """Do it. Raises WritError for what was refused before any effect; any other exception is a defect."""

    async def stop(self, operation_id: str, grace: float) -> bool:
        """End it, politely and after `grace` seconds by force; its `run` then returns. Whether it is certain that
        nothing of it goes on any more, which is also so when nothing of it was."""


@runtime_checkable
class Backend(Handler, Protocol):
    """A way to targets: `local`, `ssh`, `docker`, … with the operations that it has."""

    @property
    def name(self) -> str:
        """As in the inventory's `backend`."""

    @property
    def operations(self) -> Collection[str]:
        """What it can carry out."""

    async def check(self) -> str | None:
        """None when it could do so now, else the reason in a few words."""


@runtime_checkable
class Baselines(Protocol):
    """Can tell how a target is before an operation, for its probe afterwards."""

    async def baseline(self, task: Task) -> dict[str, Any]:
        """Public facts, small."""


@runtime_checkable
class Probes(Protocol):
    """Can tell afterwards whether an operation took effect."""

    async def probe(self, task: Task, baseline: Mapping[str, Any]) -> Probed:
        """Look, and change nothing."""


@runtime_checkable
class Previews(Protocol):
    """Can tell what an operation would do."""

    async def preview(self, task: Task) -> dict[str, Any]:
        """Look, and change nothing. Public facts."""


@runtime_checkable
class Listings(Protocol):
    """Can list what is there, for the allowlists of a policy (`writ_contracts.facts.LISTING_SOURCES`)."""

    async def listing(self, target: Target, source: str) -> list[str]:
        """All names of this kind, as docs/policy.md compares them. Look, and change nothing. Raises WritError for what
        cannot be read now, and `cannot_list` for a source that it hasn't: never an empty list instead."""


class TargetTestResult(Struct, frozen=True, kw_only=True):
    """How a target was found by a test; the fields are those of `writ_contracts.backends.TargetReport`."""

    steps: list[TargetTestStep] = field(default_factory=list)
    code: str = ""
    message: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)
    lacking: dict[str, str] = field(default_factory=dict)


@runtime_checkable
class TargetTester(Protocol):
    """Can go to a target and see whether operations can be carried out there."""

    @property
    def target_health(self) -> TargetHealth:
        """How the targets were found last, by tests and by work."""

    async def test_target(self, target: Target) -> TargetTestResult:
        """Go there anew, look, and change nothing. What is not well there is found, not raised."""


@runtime_checkable
class Leftovers(Protocol):
    """Can tell after a restart what became of what this agent had begun, since it went on without the agent: on
    another host. Who has this not starts processes on this very host, and those are found by their mark."""

    async def settle(self, task: Task) -> Done | None:
        """`task` as it was granted, without its parameters. Changes nothing, but from now on it cannot begin any more.
        `unknown` for what still runs. None: it was on this host. Raises WritError where nobody can be asked."""


def lacks(task: Task, power: str) -> Invalid:
    """The error for an operation that cannot be looked at in this way."""
    return Invalid(f"{task.operation.name} has no {power} here", code="unsupported")


def cannot_list(source: str) -> Invalid:
    """The error for a listing that a backend hasn't."""
    return Invalid(f"this agent cannot list {source.removeprefix('list_')}", code="unsupported")


def cannot_test_targets(backend: str) -> Invalid:
    """The error for a backend that cannot tell how it finds its targets."""
    return Invalid(f"agents of backend {backend} cannot tell how they find their targets", code="unsupported")

"""The port `Backend`, which carries operations out, and its optional capabilities.

A backend trusts its task: policy's signature, the parameters and the target were checked. Its report must be true:
`failed` only without an effect, `succeeded` only if the effect was verified.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec
from msgspec import Struct, field

from writ_agent.backends.target_health import TargetHealth
from writ_contracts.agents import ReceiptOutcome
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_contracts.operations import Operation
from writ_contracts.parameters import Parameters
from writ_contracts.target_tests import TargetTestStep

Effect = Literal["none", "done", "maybe"]
Verdict = Literal["took_effect", "no_effect", "unknown"]
Progress = Callable[[str], None]
"""Report progress to the requester, in public words; the runtime limits the rate. Never blocks."""


@runtime_checkable
class ReportsSilence(Protocol):
    """A `Progress` that also names the host that does not reply."""

    def report_silence(self, host: str, message: str) -> None:
        """Report that the host does not reply, and what follows. An empty `host`: it replies again. Never blocks."""


class Task(Struct, frozen=True, kw_only=True):
    """One task of a backend. For a baseline and a probe `parameters` are only the public ones.

    The runtime enforces `timeout` (seconds); backends may pass it on to the host. `baseline`: the target's state in the
    claim, which policy knew when it decided. `diff`: a preview may quote the target's present content.
    """

    operation_id: str
    attempt: int
    operation: Operation
    target: Target
    parameters: Mapping[str, Any]
    timeout: float
    baseline: Mapping[str, Any] = field(default_factory=dict)
    diff: bool = False

    def arguments(self, kind: type[Parameters] | None = None) -> Any:
        """Return the parameters as the operation's struct."""
        return msgspec.convert(dict(self.parameters), kind or self.operation.parameters)


class TaskResult(Struct, frozen=True, kw_only=True):
    """The outcome of a run. `output` is complete, with secrets; `state` and `message` are public.

    `cancelled`: it was cancelled. `over`: nothing of it runs any more. `digests`: SHA-256 in hex of large texts of the
    output, as far as they were computed here.
    """

    outcome: ReceiptOutcome
    output: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    message: str = ""
    effect: Effect = "none"
    over: bool = True
    digests: Mapping[str, str] = field(default_factory=dict)


class ProbeResult(Struct, frozen=True, kw_only=True):
    """The result of a probe, from the host's present state."""

    verdict: Verdict
    observed: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Handler(Protocol):
    """The implementation of one or several operations."""

    async def run(self, task: Task, progress: Progress) -> TaskResult:
        """Carry out the task. Raises WritError for a refusal before any effect; any other exception is a defect."""

    async def stop(self, operation_id: str, grace: float) -> bool:
        """End the operation, after `grace` seconds by force; its `run` then returns. Return True if nothing of it
        certainly runs any more, or ever ran.
        """


@runtime_checkable
class Backend(Handler, Protocol):
    """A way to targets (`local`, `ssh`, `docker`, …) with its operations."""

    @property
    def name(self) -> str:
        """Return the name, as in the inventory's `backend`."""

    @property
    def operations(self) -> Collection[str]:
        """Return the names of the operations it can carry out."""

    async def check(self) -> str | None:
        """Return None if it is ready, else the reason in a few words."""


@runtime_checkable
class Queues(Protocol):
    """A backend that lets operations wait their turn before it reaches their targets."""

    def queued_seconds(self, operation_id: str) -> float:
        """Return for how long a running operation has waited its turn; 0 for any other."""


@runtime_checkable
class Baselines(Protocol):
    """A backend able to read a target's state before an operation, for a later probe."""

    async def baseline(self, task: Task) -> dict[str, Any]:
        """Return public facts, small."""


@runtime_checkable
class Probes(Protocol):
    """A backend able to find out later if an operation took effect."""

    async def probe(self, task: Task, baseline: Mapping[str, Any]) -> ProbeResult:
        """Read the target, and change nothing."""


@runtime_checkable
class Previews(Protocol):
    """A backend able to show the effect an operation would have."""

    async def preview(self, task: Task) -> dict[str, Any]:
        """Read the target and return public facts, and possibly secret ones in `diff`. `cut`: true where not all of the
        effect is shown. Change nothing.
        """


@runtime_checkable
class Listings(Protocol):
    """A backend able to list names for the allowlists of a policy (`writ_contracts.policy.facts.LISTING_SOURCES`)."""

    async def listing(self, target: Target, source: str) -> list[str]:
        """Return all names of this kind, as docs/policy.md compares them. Change nothing.

        Raises WritError for an unreadable list, and `cannot_list` for a missing source: never an empty list instead.
        """


class Failing(Struct, frozen=True):
    """The code and message with which an operation fails. `dry_run`: so does a dry run that reads the host."""

    code: str
    message: str
    dry_run: bool = False


class TargetTestResult(Struct, frozen=True, kw_only=True):
    """The result of a target test; the fields are those of `writ_contracts.target_tests.TargetReport`.

    `fails`: those of the lacking operations that cannot succeed there, whatever their parameters: the code and message
    with which a run ends.
    """

    steps: list[TargetTestStep] = field(default_factory=list)
    code: str = ""
    message: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)
    lacking: dict[str, str] = field(default_factory=dict)
    fails: dict[str, Failing] = field(default_factory=dict)


@runtime_checkable
class TargetTester(Protocol):
    """A backend able to test a target: connection, versions and available operations."""

    @property
    def target_health(self) -> TargetHealth:
        """Return the latest results per target, from tests and operations."""

    async def test_target(self, target: Target) -> TargetTestResult:
        """Connect again and read the target, without changing it. Problems of the target are part of the result and
        not raised.
        """


@runtime_checkable
class Leftovers(Protocol):
    """A backend whose operations go on without the agent, on another host, and which can find out their fate after a
    restart. Other backends start processes on this host, which are found by their mark.
    """

    async def settle(self, task: Task) -> TaskResult | None:
        """Return the fate of a task as granted, without its parameters: `unknown` if it still runs, None if it ran on
        this host.

        It changes nothing, but the operation cannot begin any more. Raises WritError if the host cannot be queried.
        """


def lacks(task: Task, power: str) -> Invalid:
    """Return the error for an operation without this kind of read."""
    return Invalid(f"{task.operation.name} has no {power} on this backend", code="unsupported")


def cannot_list(source: str) -> Invalid:
    """Return the error for a listing missing in the backend."""
    return Invalid(f"this agent cannot list {source.removeprefix('list_')}", code="unsupported")


def cannot_test_targets(backend: str) -> Invalid:
    """Return the error for a backend without target tests."""
    return Invalid(f"agents of backend {backend} cannot test their targets", code="unsupported")

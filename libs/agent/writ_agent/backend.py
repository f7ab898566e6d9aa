"""What the runtime asks of whoever carries operations out: the port `Backend`, and the powers it may have besides.

A backend trusts the task that it gets: policy's signature, the parameters and the target have been checked. What it
says of the effect must be true: `failed` only for what did not happen, `succeeded` only for what was seen to.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec
from msgspec import Struct, field

from writ_contracts.agents import ReceiptOutcome
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

    `timeout` in seconds is the runtime's to enforce; it is here for those who can pass it on to the host.
    """

    operation_id: str
    attempt: int
    operation: Operation
    target: Target
    parameters: Mapping[str, Any]
    timeout: float

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
    """Can list what is there (services, containers, …), for the allowlists of a policy."""

    async def listing(self, task: Task) -> dict[str, Any]:
        """Look, and change nothing. Public facts."""


def lacks(task: Task, power: str) -> Invalid:
    """The error for an operation that cannot be looked at in this way."""
    return Invalid(f"{task.operation.name} has no {power} here", code="unsupported")

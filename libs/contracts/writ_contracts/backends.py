"""The result of a target test, for `writ backends test`, health and metrics.

An agent reads the target under a read grant that policy signed for exactly this target; it carries out nothing.
"""

from typing import Literal

from msgspec import Struct, field

from writ_contracts.ids import InstanceId, PoolId, TargetId
from writ_contracts.requests import Failure

StepName = Literal["agent", "connection", "host_key", "credentials", "host"]
"""The steps to a target, in this order; a backend leaves out steps it lacks."""


class TargetTestStep(Struct, frozen=True, kw_only=True):
    """One step with its result in a few words. Steps after a failed one are not tried."""

    name: StepName
    well: bool
    detail: str = ""


class TargetReport(Struct, frozen=True, kw_only=True):
    """An agent's fresh report on a target. `code` and `message` are the reason why no operation can run there; empty if
    one can.

    `versions`: of software that matters for operations, by its name. `operations`: those the target has in its present
    state; `lacking`: other operations of its backend, with the reason.
    """

    target: TargetId
    pool: PoolId
    instance: InstanceId
    agent_version: str
    steps: list[TargetTestStep] = field(default_factory=list)
    code: str = ""
    message: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)
    lacking: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def well(self) -> bool:
        """Return whether operations can be carried out there."""
        return not self.code


class BackendTestQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Have the target's own agents test it (`….backend_test`). Policy decides, as `backend_test`."""

    target: TargetId


class BackendTestAnswer(Struct, frozen=True, kw_only=True):
    """An agent's report, good or bad; or the error why there is none (`no_agent`, `no_rule`, …)."""

    visit: TargetReport | None = None
    error: Failure | None = None

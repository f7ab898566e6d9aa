"""How an agent finds a target when it goes there: for `writ backends test`, its health and its metrics.

An agent goes there under a look that policy signed for a test of exactly this target; it carries out nothing.
"""

from typing import Literal

from msgspec import Struct, field

from writ_contracts.ids import InstanceId, PoolId, TargetId
from writ_contracts.requests import Failure

StepName = Literal["agent", "connection", "host_key", "credentials", "host"]
"""On the way to a target, in this order; a backend leaves out what it has not."""


class TargetTestStep(Struct, frozen=True, kw_only=True):
    """One of them, and what was found there in a few words. What comes after one that is not well was not tried."""

    name: StepName
    well: bool
    detail: str = ""


class TargetReport(Struct, frozen=True, kw_only=True):
    """What an agent found just now. `code` and `message` say why nothing can be carried out there; empty if it can.

    `versions`: of what matters for operations, by its name. `operations`: what the target has as it stands now;
    `lacking`: what its backend could do, and why it can't be done there.
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
        """Whether operations can be carried out there."""
        return not self.code


class BackendTestQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ask the target's own agents how they find it (`….backend_test`). Policy decides, as `backend_test`."""

    target: TargetId


class BackendTestAnswer(Struct, frozen=True, kw_only=True):
    """What an agent found, also where that is bad; or why none could say (`no_agent`, `no_rule`, …)."""

    visit: TargetReport | None = None
    error: Failure | None = None

"""The result of a target test, for `writ target test`, health and metrics.

An agent reads the target under a read grant signed by policy for exactly this target. It changes nothing.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from writ_contracts.bounds import Count, Label, Labels, Seconds, Text
from writ_contracts.extensible import Extensible
from writ_contracts.ids import Digest, InstanceId, PoolId, TargetId
from writ_contracts.requests import Failure

MOST_OPERATIONS = 1024
"""Operations of one agent, with those of plugins."""
StepName = Literal["agent", "connection", "host_key", "credentials", "host", "become"]
"""The steps to a target, in this order; a backend leaves out steps it lacks."""


class TargetTestStep(Struct, frozen=True, kw_only=True):
    """One step with its result in a few words. Steps after a failed one are not tried."""

    name: Extensible[StepName]
    well: bool
    detail: Text = ""


class TargetReport(Struct, frozen=True, kw_only=True):
    """An agent's fresh report on a target. `code` and `message` are the reason why no operation can run there; empty if
    one can.

    `versions`: of the software used by operations, by name. `operations`: those the target has in its present
    state; `lacking`: other operations of its backend, with the reason.
    """

    target: TargetId
    pool: PoolId
    instance: InstanceId
    agent_version: Label
    steps: Annotated[list[TargetTestStep], Meta(max_length=16)] = field(default_factory=list)
    code: Label = ""
    message: Text = ""
    versions: Labels = field(default_factory=dict)
    operations: Annotated[list[Label], Meta(max_length=MOST_OPERATIONS)] = field(default_factory=list)
    lacking: Annotated[dict[Label, Text], Meta(max_length=MOST_OPERATIONS)] = field(default_factory=dict)
    seconds: Seconds = 0.0

    @property
    def well(self) -> bool:
        """Return whether operations can be carried out there."""
        return not self.code


KNOWN_SECONDS = 3600.0
"""How long the finding of a target test counts for a simulation."""
MOST_SURVEYED, MOST_LACKS = 100, 256
"""Targets, and different lacks, in one heartbeat."""


class HostLack(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a host lacked in a target test: there these operations end with this code and message. `dry_run`: their dry
    runs as well, if these read the host.
    """

    code: Label
    message: Text
    operations: Annotated[list[Label], Meta(max_length=MOST_OPERATIONS)]
    dry_run: bool = False


class SurveyedTarget(Struct, frozen=True, kw_only=True):
    """A target that an agent tested lately. `entry`: digest of the target's entry in the inventory (`entry_digest`).
    `age`: seconds since the test. `lacks`: places in `Heartbeat.lacks`; none where nothing was found.
    """

    target: TargetId
    entry: Digest
    age: Seconds
    lacks: Annotated[list[Count], Meta(max_length=MOST_LACKS)] = field(default_factory=list)


class BackendTestQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Have the target's own agents test it (`….backend_test`). Policy decides, as `backend_test`."""

    target: TargetId


class BackendTestReply(Struct, frozen=True, kw_only=True):
    """An agent's report, good or bad; or the error why there is none (`no_agent`, `no_rule`, …)."""

    visit: TargetReport | None = None
    error: Failure | None = None

"""Operations on system services."""

from typing import Annotated

from msgspec import Meta, field

from writ_contracts.backends import HOSTS
from writ_contracts.catalogue.grammar import UnitName
from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import PUBLIC, Output, Parameters, Timeout


class ServiceStatus(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The service to read."""

    service_name: Annotated[UnitName, PUBLIC]
    timeout: Annotated[Timeout, Meta(le=60)] = 10


class ServiceStartStop(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The service to start or stop."""

    service_name: Annotated[UnitName, PUBLIC]
    timeout: Annotated[Timeout, Meta(le=300)] = 30


class ServiceRestart(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The service to restart."""

    service_name: Annotated[UnitName, PUBLIC]
    timeout: Annotated[Timeout, Meta(le=300)] = 60


class ServiceState(Output, frozen=True, kw_only=True):
    """The state of the unit; names as in org.freedesktop.systemd1(5). Times are Unix seconds.

    `service_name` is its own name, in full. `would`, `commands`: the actions found by a dry run. `job_result`:
    systemd's result of the job.
    """

    service_name: Annotated[str, PUBLIC] = ""
    would: Annotated[str, PUBLIC] = ""
    commands: Annotated[list[str], PUBLIC] = field(default_factory=list)
    changed: Annotated[bool, PUBLIC] = False
    job_result: Annotated[str, PUBLIC] = ""
    load_state: Annotated[str, PUBLIC] = ""
    active_state: Annotated[str, PUBLIC] = ""
    sub_state: Annotated[str, PUBLIC] = ""
    unit_file_state: Annotated[str, PUBLIC] = ""
    result: Annotated[str, PUBLIC] = ""
    invocation_id: Annotated[str, PUBLIC] = ""
    main_pid: Annotated[int, PUBLIC] = 0
    exec_main_status: Annotated[int, PUBLIC] = 0
    active_since: Annotated[float | None, PUBLIC] = None
    restarts: Annotated[int, PUBLIC] = 0
    needs_reload: Annotated[bool, PUBLIC] = False
    boot_id: Annotated[str, PUBLIC] = ""
    description: Annotated[str, PUBLIC] = ""


OPERATIONS = (
    Operation(
        name="service_status",
        summary="Show the state of a service.",
        parameters=ServiceStatus,
        output=ServiceState,
        risk=Risk.READ,
        backends=HOSTS,
        idempotent=True,
        named="service_name",
        ahead=True,
    ),
    Operation(
        name="service_start",
        summary="Start a service; nothing happens if it runs.",
        parameters=ServiceStartStop,
        output=ServiceState,
        risk=Risk.CHANGE,
        backends=HOSTS,
        idempotent=True,
        baseline=True,
        named="service_name",
        probe=True,
        preview=True,
    ),
    Operation(
        name="service_stop",
        summary="Stop a service; nothing happens if it does not run.",
        parameters=ServiceStartStop,
        output=ServiceState,
        risk=Risk.CHANGE,
        backends=HOSTS,
        idempotent=True,
        baseline=True,
        named="service_name",
        probe=True,
        preview=True,
    ),
    Operation(
        name="service_restart",
        summary="Stop a service and start it again.",
        parameters=ServiceRestart,
        output=ServiceState,
        risk=Risk.CHANGE,
        backends=HOSTS,
        baseline=True,
        named="service_name",
        probe=True,
        preview=True,
    ),
)

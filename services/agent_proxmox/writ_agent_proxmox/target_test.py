"""A test of a target: is the API reached, is the certificate the one on record, is the token accepted, and which rights
does it have. Reads, and changes nothing.
"""

from collections.abc import Mapping

from writ_agent.backends.port import Failing, TargetTestResult
from writ_agent_proxmox.connection.api import Api, Apis
from writ_agent_proxmox.connection.replies import NO_RIGHTS
from writ_agent_proxmox.operations.actions import Actions
from writ_agent_proxmox.rights import granting, held, lacking
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target
from writ_contracts.plural import plural
from writ_contracts.target_tests import StepName, TargetTestStep

_STEP_OF: dict[str, StepName] = {
    "no_credentials": "credentials",
    "auth_failed": "credentials",
    "certificate_changed": "host_key",
}


async def tested(apis: Apis, target: Target, operations: Mapping[str, Actions]) -> TargetTestResult:
    """Return the state of a target; never raises WritError."""
    steps: list[TargetTestStep] = []
    try:
        api = apis.of(target)
        version = await api.get("version")
        steps += _accepted(api)
        return await _surveyed(api, operations, steps, str(version.get("version", "")))
    except WritError as error:
        name = "host" if steps else _STEP_OF.get(error.code, "connection")
        steps.append(TargetTestStep(name=name, well=False, detail=str(error)))
        return TargetTestResult(steps=steps, code=error.code, message=str(error))


async def _surveyed(
    api: Api, operations: Mapping[str, Actions], steps: list[TargetTestStep], version: str
) -> TargetTestResult:
    privileges = held(await api.get("access", "permissions"), api.connection)
    missing = lacking(operations, privileges)
    nodes = [row for row in await api.get("cluster", "status") if row.get("type") == "node"]
    away = sorted(str(row.get("name")) for row in nodes if not row.get("online"))
    detail = f"Proxmox VE {version}, {plural(len(nodes), 'node')}" + (f", offline: {', '.join(away)}" if away else "")
    return TargetTestResult(
        steps=[*steps, TargetTestStep(name="host", well=True, detail=detail)],
        versions={"proxmox": version},
        operations=sorted(set(operations) - missing.keys()),
        lacking={name: _advice(name, rights, api) for name, rights in missing.items()},
        fails={name: Failing(NO_RIGHTS, _lack(rights)) for name, rights in missing.items()},
    )


def _advice(operation: str, rights: list[str], api: Api) -> str:
    """Name the rights and the commands, whole: a cut command grants nothing, or another thing."""
    commands = granting(operation, rights, api.token, api.connection)
    return f"{_lack(rights)}: {commands}"


def _lack(rights: list[str]) -> str:
    return f"the token or its user lacks {', '.join(rights)}"


def _accepted(api: Api) -> list[TargetTestStep]:
    connection = api.connection
    pinned = "fingerprint" if connection.fingerprint else "pinned authority" if connection.ca else "public authorities"
    return [
        TargetTestStep(name="connection", well=True, detail=connection.where),
        TargetTestStep(name="host_key", well=True, detail=f"certificate by {pinned}"),
        TargetTestStep(name="credentials", well=True, detail=f"as {api.token.id}"),
    ]

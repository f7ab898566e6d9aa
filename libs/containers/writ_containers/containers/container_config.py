"""container_create as the engine takes it: the body of POST /containers/create, and the same without secrets; pure."""

from typing import Any

from writ_containers.checks.breakouts import ContainerSettings
from writ_containers.checks.container_bounds import port_range
from writ_containers.containers.container_view import OPERATION_LABEL
from writ_contracts.catalogue.containers import ContainerCreate

MIB = 1024 * 1024
NANO = 1_000_000_000
HIDDEN = ("Cmd", "Healthcheck")
DEFAULT_NETWORK = "bridge"


def settings(parameters: ContainerCreate) -> ContainerSettings:
    """Return the judged settings of a container to be created."""
    return ContainerSettings(
        name=parameters.container_name,
        privileged=parameters.privileged,
        network=parameters.network or "",
        cap_add=parameters.cap_add,
        devices=parameters.devices,
        binds=[source for source in _sources(parameters) if source.startswith("/")],
        image=parameters.image,
        ports=[port_range(outer["HostIp"], outer["HostPort"]) for _, outer in map(_port, parameters.ports)],
        volumes=[source for source in _sources(parameters) if not source.startswith("/")],
        networks=[network for network in [parameters.network or DEFAULT_NETWORK] if network != "none"],
    )


def config(parameters: ContainerCreate, operation_id: str) -> dict[str, Any]:
    """Return the request body. Every value stays one value: none is joined into text for a later parser."""
    body: dict[str, Any] = {
        "Image": parameters.image,
        "Labels": {**parameters.labels, OPERATION_LABEL: operation_id},
        "Env": [f"{name}={value}" for name, value in sorted(parameters.env.items())],
        "ExposedPorts": {inner: {} for inner, _ in map(_port, parameters.ports)},
        "HostConfig": _host_config(parameters),
    }
    if parameters.command:
        body["Cmd"] = list(parameters.command)
    if parameters.user is not None:
        body["User"] = parameters.user
    if parameters.health_command:
        body["Healthcheck"] = {
            "Test": ["CMD", *parameters.health_command],
            "Interval": parameters.health_interval * NANO,
        }
    return body


def shown(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body as a preview has it: names of variables and labels instead of their values, and no command."""
    names = sorted(pair.partition("=")[0] for pair in body["Env"])
    kept = {name: value for name, value in body.items() if name not in HIDDEN}
    return {**kept, "Env": names, "Labels": sorted(body["Labels"])}


def _sources(parameters: ContainerCreate) -> list[str]:
    return [text.partition(":")[0] for text in parameters.mounts]


def _host_config(parameters: ContainerCreate) -> dict[str, Any]:
    host: dict[str, Any] = {
        "PortBindings": _bindings(parameters),
        "Mounts": [_mount(text) for text in parameters.mounts],
        "RestartPolicy": {"Name": parameters.restart_policy or "no"},
        "Privileged": parameters.privileged,
        "CapAdd": list(parameters.cap_add),
        "CapDrop": list(parameters.cap_drop),
        "Devices": [_device(text) for text in parameters.devices],
        "ReadonlyRootfs": parameters.read_only,
        "Init": parameters.init,
    }
    if parameters.network is not None:
        host["NetworkMode"] = parameters.network
    if parameters.memory is not None:
        host["Memory"] = parameters.memory * MIB
    if parameters.cpus is not None:
        host["NanoCpus"] = round(parameters.cpus * NANO)
    return host


def _bindings(parameters: ContainerCreate) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for inner, outer in map(_port, parameters.ports):
        found.setdefault(inner, []).append(outer)
    return found


def _port(text: str) -> tuple[str, dict[str, str]]:
    """Take `[address:][host port:]container port[/udp]` apart, as the catalogue's grammar has it."""
    rest, _, protocol = text.partition("/")
    rest, _, inner = rest.rpartition(":")
    address, _, port = rest.rpartition(":")
    return f"{inner}/{protocol or 'tcp'}", {"HostIp": address.strip("[]"), "HostPort": port}


def _mount(text: str) -> dict[str, Any]:
    """Return `source:path[:ro]` as a mount. A missing folder is an error; a bind would create it."""
    source, path, *options = text.split(":")
    kind = "bind" if source.startswith("/") else "volume"
    return {"Type": kind, "Source": source, "Target": path, "ReadOnly": options == ["ro"]}


def _device(text: str) -> dict[str, str]:
    outer, _, inner = text.partition(":")
    return {"PathOnHost": outer, "PathInContainer": inner or outer, "CgroupPermissions": "rwm"}

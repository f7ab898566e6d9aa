"""The same container from another image: the body for POST /containers/create; pure.

The engine shows a container's own settings mixed with those of its image. A setting equal to the image's came from
there, so it is left out, and the new image gives its own. Watchtower and Compose tell them apart in the same way.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from writ_containers.checks.breakouts import ContainerSettings
from writ_containers.checks.container_bounds import PortRange, port_range
from writ_containers.containers.container_view import OPERATION_LABEL, PROJECT_LABEL
from writ_contracts.errors import Invalid

Raw = Mapping[str, Any]
INHERITED = ("Cmd", "Entrypoint", "WorkingDir", "User", "Healthcheck", "StopSignal", "Shell", "OnBuild", "ArgsEscaped")
"""Settings that a container has as a whole from its image or of its own."""
MERGED = ("Labels", "ExposedPorts", "Volumes")
"""Mappings to which a container adds."""
UNTRANSFERABLE = ("Image", "Hostname", "Env", "MacAddress")
WITHOUT_NETWORKS = ("host", "none", "container:")
SHORT_ID = 12
GUARDED_PATHS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "MaskedPaths": frozenset({"/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"}),
        "ReadonlyPaths": frozenset({"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}),
    }
)
"""Paths that every release of an engine hides or makes read-only. `systempaths=unconfined` leaves empty lists."""
_ENGINE_NAMED = re.compile(r"[0-9a-f]{64}")


def is_engine_named(volume: str) -> bool:
    """Return whether an engine has chosen this name of a volume."""
    return _ENGINE_NAMED.fullmatch(volume) is not None


def check_recreatable(raw: Raw) -> None:
    """Raise Invalid for a container of a stack, or one removed by its own end."""
    labels = (raw.get("Config") or {}).get("Labels") or {}
    if project := labels.get(PROJECT_LABEL):
        raise Invalid(f"it belongs to the stack {str(project)[:64]}: use stack_update", code="belongs_to_stack")
    if (raw.get("HostConfig") or {}).get("AutoRemove"):
        raise Invalid("it is removed when it ends (--rm), so nothing of it could be restored", code="auto_remove")


def recreated(raw: Raw, former_image: Raw | None, image: str, operation_id: str) -> dict[str, Any]:
    """Return the body. `raw`: the container as inspected. `former_image`: its image; None where the engine has none."""
    config = raw.get("Config") or {}
    theirs = (former_image or {}).get("Config") or {}
    body = {name: value for name, value in config.items() if name not in (*INHERITED, *MERGED, *UNTRANSFERABLE)}
    body |= {name: config[name] for name in INHERITED if config.get(name) and config[name] != theirs.get(name)}
    body |= {name: _added(config.get(name), theirs.get(name)) for name in MERGED}
    body["Labels"][OPERATION_LABEL] = operation_id
    short = str(raw.get("Id"))[:SHORT_ID]
    given = {*(theirs.get("Env") or ()), f"HOSTNAME={short}"}  # Podman adds the name that it has made of the id
    body["Env"] = [pair for pair in config.get("Env") or () if pair not in given]
    if config.get("Hostname") and config["Hostname"] != short:
        body["Hostname"] = config["Hostname"]
    host = dict(raw.get("HostConfig") or {})
    if host.get("NanoCpus"):  # Podman shows the limit in both forms, and refuses them together
        host = {name: value for name, value in host.items() if name not in ("CpuPeriod", "CpuQuota")}
    host["Mounts"] = [*(host.get("Mounts") or ()), *_anonymous(raw)]
    body |= {"Image": image, "HostConfig": host}
    if networks := dict(_endpoints(raw)):
        body["NetworkingConfig"] = {"EndpointsConfig": networks}
    return body


def settings(raw: Raw, info: Raw, image: str) -> ContainerSettings:
    """Return the judged settings of an existing container with another `image`.

    `info`: of its engine. With cgroups of version 1 the host's cgroup namespace is the default, and counts as not set.
    """
    host = raw.get("HostConfig") or {}
    mode = str(host.get("NetworkMode") or "")
    options = [str(one) for one in host.get("SecurityOpt") or ()]
    if any(host.get(key) is not None and not paths <= {*host[key]} for key, paths in GUARDED_PATHS.items()):
        options.append("systempaths=unconfined")  # Docker's command line turns the option into the two lists
    return ContainerSettings(
        name=str(raw.get("Name", "")).removeprefix("/"),
        privileged=bool(host.get("Privileged")),
        network=mode,
        namespaces={
            "pid": str(host.get("PidMode") or ""),
            "ipc": str(host.get("IpcMode") or ""),
            "uts": str(host.get("UTSMode") or ""),
            "userns_mode": str(host.get("UsernsMode") or ""),
            "cgroup": "" if info.get("CgroupVersion") == "1" else str(host.get("CgroupnsMode") or ""),
        },
        cap_add=[str(one) for one in host.get("CapAdd") or ()],
        devices=list(_devices(host)),
        binds=list(_binds(host)),
        security_options=options,
        kernel_parameters=sorted(host.get("Sysctls") or ()),
        foreign=[f"volumes from {one}" for one in host.get("VolumesFrom") or ()],
        image=image,
        ports=list(_ports(host)),
        volumes=list(_volumes(host)),
        networks=_networks(raw, mode),
    )


def _added(own: Any, theirs: Any) -> dict[str, Any]:
    """Return the container's entries beyond its image's."""
    known = theirs or {}
    return {name: value for name, value in (own or {}).items() if name not in known or known[name] != value}


def _anonymous(raw: Raw) -> Iterator[dict[str, Any]]:
    """Return volumes with a name of the engine's, for paths declared by the image: their data is the container's."""
    host = raw.get("HostConfig") or {}
    named = {str(text).split(":")[1] for text in host.get("Binds") or () if ":" in str(text)}
    named |= {str(one.get("Target")) for one in host.get("Mounts") or ()}
    for one in raw.get("Mounts") or ():
        if one.get("Type") == "volume" and one.get("Destination") not in named:
            read_only = not one.get("RW", True)
            yield {"Type": "volume", "Source": one["Name"], "Target": one["Destination"], "ReadOnly": read_only}


def _endpoints(raw: Raw) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the networks with the container's own settings; the engine itself adds the short id as an alias."""
    mode = str((raw.get("HostConfig") or {}).get("NetworkMode") or "")
    if mode.startswith(WITHOUT_NETWORKS):
        return
    short = str(raw.get("Id"))[:SHORT_ID]
    for name, own in ((raw.get("NetworkSettings") or {}).get("Networks") or {}).items():
        one = own or {}
        kept = {key: one[key] for key in ("IPAMConfig", "Links", "DriverOpts") if one.get(key)}
        if aliases := dict.fromkeys(alias for alias in one.get("Aliases") or () if alias != short):
            kept["Aliases"] = [*aliases]
        yield name, kept


def _devices(host: Raw) -> Iterator[str]:
    yield from (str(one.get("PathOnHost")) for one in host.get("Devices") or ())
    yield from (f"request for {one.get('Driver') or 'a device'}" for one in host.get("DeviceRequests") or ())
    yield from (f"rule {one}" for one in host.get("DeviceCgroupRules") or ())


def _ports(host: Raw) -> Iterator[PortRange]:
    if host.get("PublishAllPorts"):
        yield port_range(None, None)
    for bindings in (host.get("PortBindings") or {}).values():
        yield from (port_range(str(one.get("HostIp") or ""), str(one.get("HostPort") or "")) for one in bindings or ())


def _volumes(host: Raw) -> Iterator[str]:
    """Return the volumes with a chosen name; those named by the engine belong to the container."""
    sources = [text.partition(":")[0] for text in map(str, host.get("Binds") or ()) if ":" in text]
    sources += [str(one.get("Source") or "") for one in host.get("Mounts") or () if one.get("Type") == "volume"]
    yield from (one for one in sources if one and not one.startswith("/") and not is_engine_named(one))
    yield from (f"of {one}" for one in host.get("VolumesFrom") or ())


def _networks(raw: Raw, mode: str) -> list[str]:
    found = {mode, *((raw.get("NetworkSettings") or {}).get("Networks") or {})} - {"", "none", "default"}
    return sorted(found | ({"bridge"} if mode in ("", "default") else set()))


def _binds(host: Raw) -> Iterator[str]:
    sources: Sequence[str] = [str(text).partition(":")[0] for text in host.get("Binds") or ()]
    yield from (source for source in sources if source.startswith("/"))
    yield from (str(one.get("Source")) for one in host.get("Mounts") or () if one.get("Type") == "bind")

"""A Stack as the judge of breakouts takes it, as canonical JSON for Compose, and its digest without secrets; pure."""

import hashlib
import json
from typing import Any, Literal

import msgspec

from writ_containers.checks.breakouts import ContainerSettings
from writ_containers.checks.container_bounds import port_range
from writ_containers.compose.types import ComposeNetwork, ComposeService, NamedVolume, Stack

SECRET_KEYS = ("environment", "labels", "command", "entrypoint", "healthcheck")
NAMESPACES = ("pid", "ipc", "uts", "userns_mode", "cgroup")


def settings(stack: Stack) -> list[ContainerSettings]:
    """Return the judged settings of each service, and last the stack's own: volumes and networks from elsewhere."""
    whole = ContainerSettings(name="stack", foreign=list(_foreign(stack)))
    return [*(_settings(name, service, stack) for name, service in stack.services.items()), whole]


def images(stack: Stack) -> list[str]:
    """Return every image, sorted."""
    return sorted({service.image for service in stack.services.values()})


def replicas(service: ComposeService) -> int:
    """Return the expected number of containers."""
    if service.scale is not None:
        return service.scale
    count = service.deploy.replicas if service.deploy is not None else None
    return 1 if count is None else count


def compose_json(stack: Stack, name: str) -> bytes:
    """Return canonical JSON, in which no `$` is left for Compose to fill in."""
    data = {"name": name, **msgspec.to_builtins(stack)}
    return json.dumps(escaped(data), sort_keys=True, ensure_ascii=True).encode()


def shown(stack: Stack) -> dict[str, Any]:
    """Return the stack without possibly secret values; the names of variables and labels stay."""
    data = msgspec.to_builtins(stack)
    for service in data["services"].values():
        for key in SECRET_KEYS:
            if isinstance(service.get(key), dict) and key in ("environment", "labels"):
                service[key] = sorted(service[key])
            elif key in service:
                service[key] = "‹secret›"
    return dict(data)


def public_digest(stack: Stack) -> str:
    """Return the SHA-256 of `shown`: a bare digest of short secrets could be guessed from."""
    return hashlib.sha256(json.dumps(shown(stack), sort_keys=True).encode()).hexdigest()


def _settings(name: str, service: ComposeService, stack: Stack) -> ContainerSettings:
    return ContainerSettings(
        name=f"service {name}",
        privileged=service.privileged,
        network=_without_own(service.network_mode, stack),
        namespaces={key: _without_own(getattr(service, key), stack) for key in NAMESPACES},
        cap_add=service.cap_add,
        devices=[text.partition(":")[0] for text in service.devices],
        binds=[volume.source or "" for volume in service.volumes if volume.type == "bind"],
        security_options=service.security_opt,
        kernel_parameters=sorted(service.sysctls),
        foreign=[f"volumes_from {one}" for one in service.volumes_from]
        + [f"external link {one}" for one in service.external_links]
        + _network_of_others(service.network_mode or ""),
        image=service.image,
        ports=[port_range(port.host_ip, port.published) for port in service.ports],
        volumes=[*_volumes(service, stack), *(f"of {one}" for one in service.volumes_from)],
        networks=_networks(service, stack),
    )


def _volumes(service: ComposeService, stack: Stack) -> list[str]:
    """Return the engine's names of volumes outside the stack."""
    sources = [volume.source for volume in service.volumes if volume.type == "volume" and volume.source]
    return [name for source in sources if (name := _shared_name(source, stack.volumes.get(source)))]


def _networks(service: ComposeService, stack: Stack) -> list[str]:
    """Return the engine's names of networks outside the stack."""
    if mode := _without_own(service.network_mode, stack):
        return [mode] if mode != "none" else []
    if service.network_mode:
        return []
    keys = service.networks or {"default": None}
    return [name for key in keys if (name := _shared_name(key, stack.networks.get(key)))]


def own_names(stack: Stack, name: str, kind: Literal["volumes", "networks"]) -> set[str]:
    """Return the engine's names of the stack's own volumes or networks, by this project name.

    Compose joins name and key, so stacks `shop` and `shop_prod` can have the same one, and Compose only warns then.
    """
    declared = dict(getattr(stack, kind))
    if kind == "networks":
        declared.setdefault("default", None)
    return {f"{name}_{key}" for key, one in declared.items() if one is None or not (one.external or one.name)}


def _shared_name(key: str, declared: ComposeNetwork | NamedVolume | None) -> str:
    """Return the name of a resource possibly owned by something else; empty for the stack's own."""
    if declared is None or not (declared.external or declared.name is not None):
        return ""
    return declared.name or key


def _without_own(mode: str | None, stack: Stack) -> str:
    """Return the mode, or "" for the namespace of another service of the same stack, which is the stack's own."""
    kind, _, name = (mode or "").partition(":")
    return "" if kind == "service" and name in stack.services else mode or ""


def _network_of_others(mode: str) -> list[str]:
    """Besides the words of Compose a network_mode is the name of any network of the engine."""
    known = mode in ("", "none", "bridge", "host") or mode.startswith(("service:", "container:"))
    return [] if known else [f"network_mode {mode}"]


def _foreign(stack: Stack) -> list[str]:
    """Return resources with a fixed name, since it may be another owner's."""
    kinds = {"network": stack.networks, "volume": stack.volumes}
    return [
        f"{kind} {key} by a name of its own" if not one.external else f"external {kind} {key}"
        for kind, all_of_kind in kinds.items()
        for key, one in all_of_kind.items()  # type: ignore[attr-defined]
        if one.external or one.name is not None
    ]


def escaped(value: Any) -> Any:
    """Return the value with every `$` doubled, so that nothing is filled in."""
    match value:
        case str():
            return value.replace("$", "$$")
        case list():
            return [escaped(one) for one in value]
        case dict():
            return {escaped(name): escaped(one) for name, one in value.items()}
        case _:
            return value

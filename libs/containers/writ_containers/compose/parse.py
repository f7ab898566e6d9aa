"""A Compose text as a Stack: short forms become long ones, and keys not allowed are refused by name; pure.

Messages name keys and never values, which may be secret.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from writ_containers.compose import refused_keys
from writ_containers.compose.interpolate import interpolated
from writ_containers.compose.places import place
from writ_containers.compose.types import (
    Attachment,
    ComposeNetwork,
    ComposeService,
    ContainerLimits,
    Deploy,
    NamedVolume,
    PublishedPort,
    Resources,
    Stack,
    Volume,
)
from writ_contracts.catalogue.containers import RESERVED_LABELS
from writ_contracts.errors import Invalid
from writ_documents import yaml_file
from writ_documents.document import FileErrors

LARGEST = 256 * 1024
_PORT = re.compile(
    r"(?:(?:(?P<address>[0-9.]{7,15}|\[[0-9a-fA-F:.]+\]):)?(?P<outer>[0-9]{1,5}(?:-[0-9]{1,5})?)?:)?"
    r"(?P<inner>[0-9]{1,5})(?:/(?P<protocol>tcp|udp))?"
)
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_UNKNOWN = re.compile(r"unknown field `(.*)`(?: - at `\$|$)", re.DOTALL)
_QUOTED = re.compile(r"'.*'", re.DOTALL)


def parse(text: str, env: Mapping[str, str], name: str) -> Stack:
    """Return the stack. Raises Invalid (`compose_refused`)."""
    data = interpolated(_document(text), env)
    _object(data, "compose")
    if data.pop("name", name) != name:
        raise refused("name", "differs from stack_name")
    data.pop("version", None)
    _known(data, Stack, refused_keys.STACK, "compose")
    services = {key: _service(one, place("services", key)) for key, one in _each(data, "services").items()}
    networks = {
        key: _top(one, ComposeNetwork, refused_keys.NETWORK, place("networks", key))
        for key, one in _each(data, "networks").items()
    }
    volumes = {
        key: _top(one, NamedVolume, refused_keys.VOLUME, place("volumes", key))
        for key, one in _each(data, "volumes").items()
    }
    stack: Stack = _converted({"services": services, "networks": networks, "volumes": volumes}, Stack)
    _refer(stack)
    return stack


def refused(where: str, why: str) -> Invalid:
    """Return the error about a key."""
    return Invalid(f"{where} {why}", code="compose_refused")


def _document(text: str) -> Any:
    try:
        return yaml_file.parse(text.encode("utf-8", "surrogatepass"), "compose", largest=LARGEST).data
    except FileErrors as error:
        first = error.found[0]
        raise refused(f"compose, line {first.line}:", first.message) from None


def _service(data: Any, where: str) -> dict[str, Any]:
    made = _known(_object(data, where), ComposeService, refused_keys.SERVICE, where)
    for key, read in _SHORT_FORMS.items():
        if key in made:
            made[key] = read(made[key], f"{where}.{key}")
    _deploy(made.get("deploy"), f"{where}.deploy")
    return made


def _deploy(data: Any, where: str) -> None:
    if data is None:
        return
    resources = _known(_object(data, where), Deploy, {}, where).get("resources")
    if resources is not None:
        _known(_object(resources, f"{where}.resources"), Resources, {}, f"{where}.resources")
        for key in resources:
            part = place(f"{where}.resources", key)
            _known(_object(resources[key], part), ContainerLimits, refused_keys.RESOURCES, part)


def _known(data: dict[str, Any], kind: type[msgspec.Struct], reasons: Mapping[str, str], where: str) -> dict[str, Any]:
    """Return the mapping without extensions (`x-…`). Raises Invalid for the first unknown key."""
    kept = {key: value for key, value in data.items() if not key.startswith("x-")}
    for key in kept:
        if key not in kind.__struct_fields__:
            raise refused(place(where, key), reasons.get(key, "is not a key that a stack may have"))
    return {key: value for key, value in kept.items() if value is not None}


def _top(data: Any, kind: type[msgspec.Struct], reasons: Mapping[str, str], where: str) -> dict[str, Any]:
    made = _known(_object({} if data is None else data, where), kind, reasons, where)
    if "labels" in made:
        made["labels"] = _labels(made["labels"], f"{where}.labels")
    return made


def _pairs(data: Any, where: str) -> dict[str, str]:
    """Read a mapping, or a list of NAME=VALUE. A name without a value would take it from the agent's environment."""
    if isinstance(data, list):
        texts = [_text(one, where) for one in data]
        if any("=" not in one for one in texts):
            raise refused(where, "has an entry without `=`: a value would come from the agent's own environment")
        return dict(one.split("=", 1) for one in texts)
    return {key: _text(value, place(where, key)) for key, value in _object(data, where).items()}


def _labels(data: Any, where: str) -> dict[str, str]:
    """Return the labels without those of Compose and Writ, by which both know their own."""
    labels = _pairs(data, where)
    if any(name.startswith(RESERVED_LABELS) for name in labels):
        raise refused(where, "has a reserved name: io.writops and com.docker")
    return labels


def _text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(where, "must be text or a number: put it into quotes")
    return str(value)


def _ports(data: Any, where: str) -> list[Any]:
    return [_port(one, where) for one in _list(data, where)]


def _port(one: Any, where: str) -> dict[str, Any]:
    if isinstance(one, dict):
        made = _known(one, PublishedPort, {"mode": "is for a swarm", "app_protocol": "is not supported"}, where)
        return {**made, "published": str(made["published"])} if "published" in made else made
    found = _PORT.fullmatch(_text(one, where))
    if found is None:
        raise refused(where, "has a port in another form than [address:][host port:]container port[/udp]")
    made = {"target": int(found["inner"]), "published": found["outer"], "protocol": found["protocol"] or "tcp"}
    made["host_ip"] = found["address"].strip("[]") if found["address"] else None
    return {key: value for key, value in made.items() if value is not None}


def _volumes(data: Any, where: str) -> list[Any]:
    return [_volume(one, where) for one in _list(data, where)]


def _volume(one: Any, where: str) -> dict[str, Any]:
    """`source:target[:ro]`, or the long form. A folder must be there: nothing is created."""
    if isinstance(one, dict):
        made = _known(one, Volume, {"volume": "is not supported", "consistency": "is not supported"}, where)
    else:
        made = _short_volume(_text(one, where))
    source = str(made.get("source", ""))
    if made.get("type") == "bind":
        if not source.startswith("/"):
            raise refused(where, "has a folder that is not an absolute path: there is no folder of the file")
        return {**made, "bind": {"create_host_path": False}}
    if source and not _VOLUME_NAME.fullmatch(source):
        raise refused(where, "has a source that is neither an absolute path nor the name of a volume")
    return made


def _short_volume(text: str) -> dict[str, Any]:
    head, _, last = text.rpartition(":")
    mode = last if last in ("ro", "rw") else ""
    source, _, target = head.rpartition(":") if mode else (head, "", last)
    made = {"type": "bind" if source.startswith("/") else "volume", "target": target, "read_only": mode == "ro"}
    return {**made, "source": source} if source else made


def _networks(data: Any, where: str) -> dict[str, Any]:
    if isinstance(data, list):
        return {_text(one, where): None for one in data}
    found = _object(data, where)
    return {
        key: None
        if one is None
        else _known(_object(one, where), Attachment, refused_keys.ATTACHMENT, place(where, key))
        for key, one in found.items()
    }


def _dependencies(data: Any, where: str) -> dict[str, Any]:
    return {_text(one, where): {} for one in data} if isinstance(data, list) else _object(data, where)


def _sysctls(data: Any, where: str) -> dict[str, str]:
    return _pairs(data, where)


def _texts(data: Any, where: str) -> list[str]:
    return [_text(one, where) for one in _list(data, where)]


def _extra_hosts(data: Any, where: str) -> list[str]:
    return (
        [f"{key}:{value}" for key, value in _pairs(data, where).items()]
        if isinstance(data, dict)
        else _texts(data, where)
    )


_SHORT_FORMS: Mapping[str, Callable[[Any, str], Any]] = {
    "environment": _pairs,
    "labels": _labels,
    "sysctls": _sysctls,
    "ports": _ports,
    "expose": _texts,
    "volumes": _volumes,
    "networks": _networks,
    "depends_on": _dependencies,
    "extra_hosts": _extra_hosts,
}


def _converted(data: Any, kind: type[Any]) -> Any:
    """Convert numbers and truth values, which may have come as text, by interpolation."""
    try:
        return msgspec.convert(data, kind, strict=False)
    except msgspec.ValidationError as error:
        message = str(error)
        at = message.rpartition(" - at `$.")[2].rstrip("`") if " - at `$." in message else "compose"
        raise refused(at, _without_values(message)) from None


def _without_values(message: str) -> str:
    """Return the message of msgspec without the quoted values, and without what is no key."""
    if "matching regex" in message:
        return "does not fit its grammar"
    unknown = _UNKNOWN.search(message)
    if unknown and not yaml_file.looks_like_key(unknown[1]):
        return "has an entry that is not a key"
    return f"is not valid: {_QUOTED.sub('‹value›', message.partition(' - at `$')[0])[:200]}"


def _refer(stack: Stack) -> None:
    """Raise Invalid for an undeclared volume or network."""
    for name, service in stack.services.items():
        for volume in service.volumes:
            if volume.type == "volume" and volume.source is not None and volume.source not in stack.volumes:
                raise refused(f"services.{name}.volumes", f"uses {volume.source}, which `volumes` does not declare")
        for network in service.networks:
            if network != "default" and network not in stack.networks:
                raise refused(f"services.{name}.networks", f"uses {network}, which `networks` does not declare")
        for other in service.depends_on:
            if other not in stack.services:
                raise refused(f"services.{name}.depends_on", f"names {other}, which is not a service of the stack")


def _each(data: dict[str, Any], key: str) -> dict[str, Any]:
    return _object(data.get(key) or {}, key)


def _object(data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise refused(where, "is not a mapping")
    return data


def _list(data: Any, where: str) -> list[Any]:
    if not isinstance(data, list):
        raise refused(where, "is no list")
    return data

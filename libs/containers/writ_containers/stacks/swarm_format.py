"""A Stack as `docker stack deploy` takes it: version 3 of the Compose format; pure.

`docker stack deploy` ignores keys that a swarm does not have, and the address of a published port, with a warning at
most. So each of them is refused here by its name.
"""

import json
from typing import Any

import msgspec

from writ_containers.compose.canonical_stack import escaped, replicas
from writ_containers.compose.types import Stack
from writ_containers.containers.container_view import OPERATION_LABEL
from writ_contracts.errors import Invalid

SERVICE_KEYS = frozenset(
    (
        *("image", "command", "entrypoint", "environment", "labels", "ports", "volumes", "networks", "healthcheck"),
        *("logging", "deploy", "scale", "hostname", "user", "working_dir", "init", "read_only", "tty", "stdin_open"),
        *("stop_signal", "stop_grace_period", "dns", "dns_search", "extra_hosts", "cap_add", "cap_drop", "sysctls"),
        "ulimits",
    )
)
INSTEAD = {
    "restart": "use deploy.restart_policy",
    "depends_on": "services of a swarm start in any order",
    "mem_limit": "use deploy.resources",
    "cpus": "use deploy.resources",
    "container_name": "tasks have names of their own",
}


def stack_json(stack: Stack, operation_id: str) -> bytes:
    """Return canonical JSON without a `$`. Raises Invalid (`compose_refused`).

    Each service, though not its containers, gets the label of the operation: it makes no task again.
    """
    data = msgspec.to_builtins(stack)
    services = {name: _service(name, service) for name, service in data["services"].items()}
    for name, service in services.items():
        deploy = {"replicas": replicas(stack.services[name]), "labels": {OPERATION_LABEL: operation_id}}
        service["deploy"] = {**service.get("deploy", {}), **deploy}
    networks = {name: _network(name, one) for name, one in data.get("networks", {}).items()}
    whole = {"version": "3.8", "services": services, "networks": networks, "volumes": data.get("volumes", {})}
    return json.dumps(escaped(whole), sort_keys=True, ensure_ascii=True).encode()


def _service(name: str, service: dict[str, Any]) -> dict[str, Any]:
    for key in service:
        if key not in SERVICE_KEYS:
            raise _refused(f"services.{name}.{key}", INSTEAD.get(key, "has no effect in a swarm"))
    made = {key: value for key, value in service.items() if key != "scale"}
    if "ports" in made:
        made["ports"] = [_port(name, port) for port in made["ports"]]
    if "volumes" in made:
        made["volumes"] = [{key: value for key, value in one.items() if key != "bind"} for one in made["volumes"]]
    for network, attachment in made.get("networks", {}).items():
        if strange := set(attachment or ()) - {"aliases"}:
            raise _refused(f"services.{name}.networks.{network}.{min(strange)}", "has no effect in a swarm")
    _quote(made.get("deploy", {}).get("resources", {}))
    return made


def _port(name: str, port: dict[str, Any]) -> dict[str, Any]:
    if port.get("host_ip"):
        raise _refused(f"services.{name}.ports", "a swarm publishes on every address: leave the address out")
    published = str(port.get("published", ""))
    if not published.isdigit():
        raise _refused(f"services.{name}.ports", "give one published port for each")
    return {**port, "published": int(published)}


def _network(name: str, network: dict[str, Any]) -> dict[str, Any]:
    for key in ("driver", "enable_ipv6"):
        if network.get(key):
            raise _refused(f"networks.{name}.{key}", "a swarm's networks are overlays")
    return network


def _quote(resources: dict[str, Any]) -> None:
    """Write these numbers as text, as version 3 of the format has them."""
    for limits in resources.values():
        for key in ("cpus", "memory"):
            if key in limits:
                limits[key] = str(limits[key])


def _refused(where: str, why: str) -> Invalid:
    return Invalid(f"{where} is not for a swarm: {why}", code="compose_refused")

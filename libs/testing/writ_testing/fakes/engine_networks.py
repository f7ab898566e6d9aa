"""Networks of the fake engine, as Docker Engine 26.1 answers for them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from writ_testing.fakes.engine_http import EngineRequest, HttpReply
from writ_testing.fakes.engine_storage import has_labels


@dataclass
class EngineNetworks:
    """The networks of the fake engine, in `networks` by their id."""

    networks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def network_routes(self) -> list[tuple[str, str, Callable[..., HttpReply]]]:
        return [
            ("GET", "/networks", self._list_networks),
            ("POST", "/networks/create", self._create_network),
            ("GET", "/networks/([^/]+)", lambda _, name: self._with_network(name, lambda one: HttpReply(200, one))),
            ("DELETE", "/networks/([^/]+)", lambda _, name: self._with_network(name, self._remove_network)),
        ]

    def _list_networks(self, request: EngineRequest) -> HttpReply:
        return HttpReply(200, [one for one in self.networks.values() if has_labels(request, one["Labels"])])

    def _create_network(self, request: EngineRequest) -> HttpReply:
        body = request.body
        if any(one["Name"] == body["Name"] for one in self.networks.values()):
            return HttpReply(409, {"message": f"network with name {body['Name']} already exists"})
        network = {"Driver": "bridge", **body, "Id": f"{len(self.networks) + 0xEE0000:064x}", "Scope": "local"}
        self.networks[network["Id"]] = network | {"Labels": body.get("Labels") or {}}
        return HttpReply(201, {"Id": network["Id"], "Warning": ""})

    def _remove_network(self, network: dict[str, Any]) -> HttpReply:
        del self.networks[network["Id"]]
        return HttpReply(204)

    def _with_network(self, name: str, act: Callable[[dict[str, Any]], HttpReply]) -> HttpReply:
        found = next((one for one in self.networks.values() if name in (one["Id"], one["Name"])), None)
        return act(found) if found else HttpReply(404, {"message": f"network {name} not found"})

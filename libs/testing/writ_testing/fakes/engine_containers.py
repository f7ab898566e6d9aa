"""Containers of the fake engine: how a list shows them, and stops that go on although their client has left."""

import re
from dataclasses import dataclass, field
from typing import Any

from writ_testing.fakes.engine_http import EngineRequest


def listed(one: dict[str, Any]) -> dict[str, Any]:
    """Return the container as an entry of GET /containers/json."""
    known = {"Id": one["Id"], "Names": [one["Name"]], "State": one["State"]["Status"]}
    return {**known, "Labels": one["Config"]["Labels"], "Image": one["Config"]["Image"]}


@dataclass
class LateStops:
    """Stops whose reply hung, by the id of a container, with the time of its start."""

    late_stops: dict[str, str] = field(default_factory=dict)

    def keep_stop(self, request: EngineRequest, containers: dict[str, dict[str, Any]]) -> None:
        """Remember the request if it stops a container."""
        match = re.fullmatch(r"/containers/([^/]+)/stop", request.path)
        if match is not None and match[1] in containers:
            self.late_stops[match[1]] = containers[match[1]]["State"]["StartedAt"]

    def end_stops(self, containers: dict[str, dict[str, Any]]) -> None:
        """Carry them out, each on a container that was not stopped and started again since."""
        for number, started in self.late_stops.items():
            state = containers[number]["State"]
            if state["Running"] and state["StartedAt"] == started:
                state |= {"Status": "exited", "Running": False, "ExitCode": 137}

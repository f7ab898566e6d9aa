"""The metrics endpoints of an installation in the form of Prometheus' `file_sd_configs`. Pure."""

import re
from typing import Any

from writ_installation.status.control import InstallationStatus

_REPLICA = re.compile(r"[@.]\d+$|(?<=^executor)-\d+$|\s.*$")
"""The end of a name that numbers replicas. A pool's own name may end with a number."""


def scrape_targets(status: InstallationStatus) -> list[dict[str, Any]]:
    """Return a group for each process with a health port: its address, and the labels `service` and `process`.

    A process that is not ready is among them: it is down then, which alerts report.
    """
    return [
        {
            "targets": [_address(one.health_host, one.health_port)],
            "labels": {"service": _REPLICA.sub("", one.name), "process": one.name},
        }
        for one in status.processes
        if one.health_port is not None
    ]


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

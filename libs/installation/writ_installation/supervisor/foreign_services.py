"""Installations whose services the system or an engine of containers starts, and never `writ up`."""

from writ_contracts.errors import Conflict
from writ_installation.files.home import Home


def refuse_services_of_others(home: Home) -> None:
    """Raises Conflict where others start the services: a second server would have an empty journal."""
    if home.split:
        raise Conflict(f"the services of {home.root} are started by the system: systemctl start writ.target")
    if home.in_containers:
        raise Conflict(f"the services of {home.root} run in containers: docker compose up --detach --wait")

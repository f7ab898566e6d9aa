"""A NATS server of somebody else's (`NATS_URL`), and the type of either kind of server."""

import time
from collections.abc import Callable
from pathlib import Path

from writ_bus.errors import BusError, Forbidden
from writ_documents.readers import read_agents
from writ_installation.files import tokens
from writ_installation.files.home import Home
from writ_installation.files.principal_changes import admitted_principals
from writ_installation.nats.server import BundledServer


class ExternalServer:
    """The server named by NATS_URL. It needs our configuration (`writ up --write-server-config`), or it accepts
    nobody.
    """

    def __init__(self, home: Home, url: str, show: Callable[[str], None]) -> None:
        self.url = url
        self.log: Path | None = None
        self.state = "ready"
        self.restarts = 0
        self.pid: int | None = None
        self.problem = self.warning = ""
        self._home = home
        self._show = show
        self._known = self._names()

    def _names(self) -> set[str]:
        principals = {one.id + one.key for one in admitted_principals(self._home, ())}
        agents = {one.pool + one.key for one in read_agents(self._home.agents).agents}
        return principals | agents | {token.id for token in tokens.good(self._home, time.time())}

    async def start(self) -> None:
        """Do nothing: others start it."""

    async def check_disk(self) -> None:
        """It is on another host, or may be."""

    async def adapt(self) -> bool:
        """Print the operator's next step when principals or pools changed; return whether they did."""
        names = self._names()
        if names == self._known:
            return False
        self._known = names
        self._show(f"principals or pools changed: {self.url} must load the file of `writ up --write-server-config`")
        return True

    async def stop(self) -> None:
        """Do nothing: others stop it."""


Server = BundledServer | ExternalServer


def hint(error: BusError, server: Server) -> str:
    """Return the error, with the next step for an external server that refuses us."""
    if isinstance(server, ExternalServer) and isinstance(error, Forbidden):
        return f"{error}: give it the file that `writ up --write-server-config FILE` writes"
    return str(error)

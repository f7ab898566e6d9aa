"""Keep NATS's users equal to the changes of principals in the journal: an executor asks for it after each change."""

from collections.abc import Mapping

from writ_bus.nats.bus import connect
from writ_bus.port import Endpoint, EndpointReply, Message
from writ_contracts import subjects
from writ_contracts.errors import ConfigError, Unreachable, WritError
from writ_contracts.failures import failure_of
from writ_contracts.provisioning import Provision, Provisioned
from writ_contracts.registry import channel
from writ_contracts.wire import decode, encode
from writ_installation.files.home import Home
from writ_installation.files.principal_changes import keep_changes, known_changes, taken_in
from writ_installation.nats.server import options_of
from writ_installation.nats.server_tls import client_tls
from writ_installation.provisioner.reconciler import Rounds
from writ_runtime.logs import Log

LARGEST = 4096
_log = Log("writ.keeper")


class PrincipalChangeEndpoint:
    """Answers `writ.provision`: a round applies what the journal has, which the bootstrap user reads."""

    def __init__(self, home: Home, rounds: Rounds, environ: Mapping[str, str]) -> None:
        self._home = home
        self._rounds = rounds
        self._environ = environ
        self._url = ""
        self._asked: dict[int, int] = {}
        """The latest change that an executor asked for, with the round that applies it."""

    async def read(self, url: str) -> None:
        """Read the changes, and keep them on file. Raises BusError, ConfigError, Invalid."""
        self._url = url
        known = known_changes(self._home)
        bus = await connect(options_of(self._home, "bootstrap", url, client_tls(self._home, self._environ)))
        try:
            records = await bus.journal.read(subjects.CONTROL)
        finally:
            await bus.drain(1.0)
        found = taken_in(known, records, self._home.policy_keys(), self._home.installation)
        if found != known:
            keep_changes(self._home, found)

    def endpoint(self) -> Endpoint:
        """Return the endpoint for the provisioner's service."""
        request = channel("provision")
        return Endpoint(name=request.name, subject=request.subject(), handler=self._answered, concurrency=1)

    async def _answered(self, message: Message) -> EndpointReply:
        """Return one reply on every path."""
        try:
            answer = Provisioned(applied=await self._is_applied(decode(message.data, Provision, limit=LARGEST)))
        except WritError as error:
            answer = Provisioned(error=failure_of(error))
        except (ConfigError, OSError) as error:
            _log.error("provision.failed", error=str(error))
            answer = Provisioned(error=failure_of(Unreachable("see the provisioner's log")))
        return EndpointReply(encode(answer))

    async def _is_applied(self, request: Provision) -> bool:
        """Return whether NATS follows the change; have it follow at the first question."""
        if request.sequence not in self._asked:
            await self.read(self._url)
            if known_changes(self._home).sequence < request.sequence:
                raise Unreachable(f"the change at {request.sequence} of the journal was not found", code="behind")
            self._asked = {request.sequence: self._rounds.request()}
        return self._rounds.is_done(self._asked[request.sequence])

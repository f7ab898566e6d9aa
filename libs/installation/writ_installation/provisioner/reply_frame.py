"""The frame of the provisioner's endpoints: that of every service, where a bad or unreadable file is `unavailable`."""

from collections.abc import Callable
from typing import Any

from writ_bus.port import Message
from writ_contracts.errors import ConfigError, Unreachable
from writ_runtime.endpoint_frame import Handle, Observe, Respond, endpoint_handler
from writ_runtime.logs import Log

ENDPOINTS = ("enrol", "provision")
_log = Log("writ.keeper")


def provisioner_handler(endpoint: str, handle: Handle, refused: Callable[..., Any], observe: Observe) -> Respond:
    """Return the handler to be served. A file that is bad or cannot be written is repaired by a person, and the request
    then succeeds when it is sent again.
    """

    async def respond(message: Message) -> Any:
        try:
            return await handle(message)
        except (ConfigError, OSError) as error:
            _log.error(f"{endpoint}.file_failed", error=str(error))
            raise Unreachable("see the provisioner's log") from error

    return endpoint_handler(endpoint, respond, refused, observe, _log)

"""nats-py's client, with TLS that nobody on the path can talk it out of.

nats-py starts TLS only where the server's INFO demands it, and INFO comes in the clear: somebody on the path could have
a client speak, and sign the server's nonce, in the clear.
"""

from ssl import SSLContext
from typing import Any

from nats.aio.client import Client

from writ_bus.nats.tls import STREAM_SCHEMES


class EncryptedClient(Client):
    """nats-py's client; with a TLS context it starts TLS on every connection, or has none."""

    def use_tls(self, context: SSLContext) -> None:
        """Use this context from the next connection on."""
        self.options["tls"] = context

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        server = self._current_server
        if initial_connection and "tls" in self.options and server and server.uri.scheme in STREAM_SCHEMES:
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)

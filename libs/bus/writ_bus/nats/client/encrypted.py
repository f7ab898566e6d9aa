"""nats-py's client with mandatory TLS: an attacker on the network cannot downgrade the connection.

nats-py starts TLS only if the server's INFO demands it, and INFO comes unencrypted. An attacker who changes it could
make a client send data, and sign the server's nonce, without encryption.
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

"""TLS to the API: one context accepting a pinned CA and a pinned node certificate on every Python from 3.11 on.

PVE's own CA has no keyUsage extension, which VERIFY_X509_STRICT (default since 3.13) refuses; a pinned certificate
other than a root needs VERIFY_X509_PARTIAL_CHAIN (default since 3.13, not before). requests would add the public
authorities to a pinned context (`cert_verify`), so the adapter leaves that step out.
"""

import ssl
from typing import Any

from requests.adapters import HTTPAdapter

from writ_agent_proxmox.settings import ProxmoxConnection
from writ_contracts.errors import Invalid


def context_for(connection: ProxmoxConnection) -> ssl.SSLContext:
    """Return the context of a connection. Raises Invalid (`invalid_connection`) for a `ca` without a certificate."""
    if connection.ca is None and connection.fingerprint is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if connection.fingerprint is not None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the adapter compares the fingerprint before anything is sent
        return context
    try:
        context.load_verify_locations(cadata=connection.ca)
    except (ssl.SSLError, ValueError) as error:
        raise Invalid(f"connection.ca holds no certificate: {error}", code="invalid_connection") from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class PinnedAdapter(HTTPAdapter):
    """HTTPS with exactly this context; no retries of its own."""

    def __init__(self, context: ssl.SSLContext, fingerprint: str | None) -> None:
        self._tls: dict[str, Any] = {"ssl_context": context}
        if fingerprint is not None:
            self._tls["assert_fingerprint"] = fingerprint
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Hand the context to every connection."""
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs, **self._tls)

    def close_connections(self) -> None:
        """Close the unused connections, from the thread that uses them. `close` leaves that to the garbage collector:
        urllib3 only forgets its pools (2.0).
        """
        pools = self.poolmanager.pools
        forgotten = [pools.get(key) for key in pools.keys()]  # noqa: SIM118 - the container refuses to be iterated
        self.poolmanager.clear()
        for pool in forgotten:
            if pool is not None:
                pool.close()

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> tuple[Any, Any]:
        """Name the host as requests does, and nothing of requests' own idea of TLS."""
        return super().build_connection_pool_key_attributes(request, verify, cert)[0], dict(self._tls)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the pinned context alone."""

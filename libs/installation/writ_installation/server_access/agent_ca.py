"""The certificates that agents on other machines trust."""

import ssl
from collections.abc import Mapping

from writ_bus.nats.tls import PINNED, pinned
from writ_contracts.errors import ConfigError
from writ_installation.files.home import Home
from writ_installation.server_access.server_tls import pinned_ca


def ca_elsewhere(home: Home, environ: Mapping[str, str]) -> str:
    """Return the CA for agents on other machines: the installation's own, else that of WRIT_TLS_CA, spelled out.

    Raises ConfigError where its file cannot be read.
    """
    named = environ.get("WRIT_TLS_CA", "")
    if (ours := pinned_ca(home)) or not named or named.startswith(PINNED):
        return ours or named
    try:
        certificates = ssl.create_default_context(cafile=named).get_ca_certs(binary_form=True)
    except OSError as error:
        raise ConfigError(f"WRIT_TLS_CA: {named}: {error}") from error
    return pinned(certificates)

"""The certificates that agents on other machines trust."""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path

from writ_bus.nats.tls import PINNED, pinned
from writ_contracts.errors import ConfigError
from writ_installation.files.home import Home
from writ_installation.server_access.server_tls import pinned_ca

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def ca_elsewhere(home: Home, environ: Mapping[str, str]) -> str:
    """Return the CA for agents on other machines: the installation's own, else that of WRIT_TLS_CA, spelled out.

    Raises ConfigError where its file cannot be read or has none.
    """
    named = environ.get("WRIT_TLS_CA", "")
    if (ours := pinned_ca(home)) or not named or named.startswith(PINNED):
        return ours or named
    try:  # not by an SSLContext, which lists no server's own certificate (CA:FALSE), although it trusts it
        found = _CERTIFICATE.findall(Path(named).read_text(encoding="ascii", errors="replace"))
        certificates = [ssl.PEM_cert_to_DER_cert(one) for one in found]
    except (OSError, ValueError) as error:
        raise ConfigError(f"WRIT_TLS_CA: {named}: {error}") from error
    if not certificates:
        raise ConfigError(f"WRIT_TLS_CA: {named} has no certificate")
    return pinned(certificates)

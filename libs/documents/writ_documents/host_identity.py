"""The identity of a host for one installation, by its machine-id, which never leaves the host."""

import hmac
import re
from pathlib import Path

MACHINE_ID = Path("/etc/machine-id")
_USABLE = re.compile(r"[0-9a-f]{32}")


def host_identity(installation: str, path: Path = MACHINE_ID) -> str | None:
    """Return the HMAC-SHA-256 of the installation's id under the machine-id, in hex; None without a machine-id, as in
    many containers (machine-id(5) asks programs for such a keyed form).
    """
    try:
        text = path.read_text(errors="replace").strip()
    except OSError:
        return None
    if not _USABLE.fullmatch(text):
        return None
    return hmac.digest(text.encode(), f"writ.host\0{installation}".encode(), "sha256").hex()

"""The reader of the provisioner's changes of principals, apart from `readers`: it needs the catalogue of operations."""

from pathlib import Path

import msgspec

from writ_contracts.errors import ConfigError
from writ_contracts.installation.known_changes import KnownChanges

CHANGES = "principal-changes.json"
"""Its name. The provisioner keeps it beside agents.yaml."""


def read_principal_changes(path: Path) -> KnownChanges:
    """Return the provisioner's changes of principals; none without the file. Raises ConfigError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=KnownChanges)
    except FileNotFoundError:
        return KnownChanges()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error

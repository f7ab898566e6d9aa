"""Keys that an existing installation has lost: the next start makes new ones, and says what that means.

Most services only need a key that NATS knows. Policy's key signs what is on record, and params.key decrypts it.
"""

from writ_contracts.errors import ConfigError
from writ_contracts.installation.keyring import POLICY
from writ_installation.files.create import SERVICES
from writ_installation.files.home import Home


def lost_keys(home: Home) -> list[str]:
    """Return a line for each key that is missing in an installation that had it."""
    if home.split or not home.public_file.exists():
        return []
    lines = [_of_service(home, name) for name in SERVICES if not home.seed_file(name).exists()]
    if not home.params_key.exists():
        lines.append(
            f"{home.params_key} is missing, so a new key is made: stored parameters and outputs can no longer be read."
            " Restore the file from a backup, if you have one, and start again"
        )
    return lines


def _of_service(home: Home, name: str) -> str:
    missing = f"{home.seed_file(name)} is missing, so a new key is made"
    if name != POLICY:
        return missing
    try:
        former = home.public(name)
    except ConfigError:
        former = "U…"
    return (
        f"{missing}: signatures of the former one, {former}, are refused, and nothing can be decided. Restore the file"
        " from a backup and start again; without one, WRIT_POLICY_FORMER_KEYS names the former key"
        " (docs/operating/policy-versions.md)"
    )

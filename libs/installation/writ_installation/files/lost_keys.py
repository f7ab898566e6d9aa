"""Keys that an existing installation has lost: the next start makes new ones, and says what that means.

Most services only need a key that NATS knows, and `params.key` decrypts what is on record. Policy's key is replaced
under a condition only: see `lost_policy_key`.
"""

from writ_installation.files.create import SERVICES
from writ_installation.files.home import Home


def lost_keys(home: Home) -> list[str]:
    """Return a line for each key that is missing in an installation that had it."""
    if home.split or not home.public_file.exists():
        return []
    lost = [seed for seed in map(home.seed_file, SERVICES) if not seed.exists()]
    lines = [f"{seed} is missing, so a new key is made" for seed in lost]
    if not home.params_key.exists():
        lines.append(
            f"{home.params_key} is missing, so a new key is made: stored parameters and outputs can no longer be read."
            " Restore the file from a backup, if you have one, and start again"
        )
    return lines

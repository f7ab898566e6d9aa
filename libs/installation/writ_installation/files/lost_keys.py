"""Keys that an existing installation has lost: the next start makes new ones, and says what that means.

Most services only need a key that NATS knows, and `params.key` decrypts what is on record. Policy's key is replaced
under a condition only: see `lost_policy_key`.
"""

from writ_installation.files.create import SERVICES, write_public
from writ_installation.files.former_keys import refuse_former_keys
from writ_installation.files.home import Home
from writ_installation.files.parameter_keys import make_parameter_key


def lost_keys(home: Home) -> list[str]:
    """Return a line for each key that is missing in an installation that had it."""
    return [] if home.split or not home.public_file.exists() else _lines(home)


def replace_lost_keys(home: Home) -> list[str]:
    """Make new keys for those that an installation of `writ init` lost; return a line for each. Policy's key is never
    replaced here. Raises ConfigError where it is missing, or the file of a key has one that was rotated away.
    """
    home.key("policy")
    refuse_former_keys(home)
    if lines := _lines(home):
        for name in SERVICES:
            home.make_key(name)
        make_parameter_key(home.params_key)
    write_public(home)  # also after a run that was killed before it came here
    return lines


def _lines(home: Home) -> list[str]:
    lost = [seed for seed in map(home.seed_file, SERVICES) if not seed.exists()]
    lines = [f"{seed} is missing, so a new key is made" for seed in lost]
    if not home.params_key.exists():
        lines.append(
            f"{home.params_key} is missing, so a new key is made: stored parameters and outputs can no longer be read."
            " Restore the file from a backup, if you have one, and start again"
        )
    return lines

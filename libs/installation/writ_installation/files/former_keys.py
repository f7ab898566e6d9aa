"""Files of keys that were rotated away: an older copy that was put back gives its holder no access again.

A key is rotated because somebody else may have it. NATS knows no user with such a key (`Home.keys_of`): a process with
it cannot connect.
"""

from datetime import UTC, datetime

from writ_contracts.errors import ConfigError
from writ_contracts.installation.keyring import KeyEntry
from writ_installation.files.home import Home


def refuse_former_keys(home: Home, *names: str) -> None:
    """Raise ConfigError if the file of one of these keys (of all, if none is named) has a key that was rotated away."""
    for entry in home.keyring().keys:
        seed = home.seed_file(entry.name)
        is_meant = entry.state == "former" and (not names or entry.name in names)
        if is_meant and seed.exists() and home.key(entry.name).public == entry.key:
            raise ConfigError(_refusal(home, entry))


def _refusal(home: Home, entry: KeyEntry) -> str:
    present = home.keyring().find(entry.name, "current")
    when = f" on {datetime.fromtimestamp(entry.until, UTC):%Y-%m-%d at %H:%M UTC}" if entry.until is not None else ""
    needed = f", {present.key}" if present is not None and present.key != entry.key else ""
    return (
        f"{home.seed_file(entry.name)}: this key was rotated away{when}, so it is refused. Put the present one back"
        f"{needed}. If it is lost, see docs/operating/files.md"
    )

"""Policy's key, if an existing installation has lost it: another one is made only where the former one still counts.

Policy accepts no version that the lost key signed, unless WRIT_POLICY_FORMER_KEYS names that key. A start without it
would replace the key's public half on disk, and then fail. Later starts need the value as well, so it is kept.
"""

import re
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

import msgspec

from writ_contracts.errors import ConfigError, Conflict
from writ_contracts.installation.keyring import POLICY, Keyring
from writ_documents.atomic_files import save
from writ_installation.files.home import Home
from writ_installation.files.keyring import save_keys

VARIABLE = "WRIT_POLICY_FORMER_KEYS"
_ENTRY = re.compile(r"[A-Z0-9]+@\d+(@\d+)?")
_UNKNOWN = "NUMBER"
UNKNOWN_END = (
    f"{_UNKNOWN}: the last version of the policy that the key signed, as `writ policy history` shows. A higher one"
    " will do if nobody else had the key. Append @EVENT, the last event of the journal before the loss"
)
"""What to write in place of the word where no state of policy is here."""


class _Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The number in `policy-version.json` or `journal.json`."""

    number: int = 0
    sequence: int = 0


def refuse_lost_policy_key(home: Home, former_keys: str = "") -> None:
    """Raise ConfigError if policy's key is lost. `former_keys`: the value of WRIT_POLICY_FORMER_KEYS, which permits a
    new key if it names the lost one, and each that was rotated away before.
    """
    seed = home.seed_file(POLICY)
    if home.split or seed.exists() or not home.public_file.exists():
        return
    lost, keyring = home.public(POLICY), home.keyring()
    if _names(former_keys, {lost, *keyring.former(POLICY), *_retiring(keyring)}):
        return
    value = ",".join(_former(home, keyring, lost))
    unknown = f"{UNKNOWN_END}\n" if has_unknown_end(value) else ""
    raise ConfigError(
        f"{seed} is missing. Nothing was started or changed.\n"
        f"Copy the file back from a backup: `writ restore FILE --home FOLDER` unpacks a backup into a new FOLDER, which"
        f" then has keys/{POLICY}.seed.\n"
        f"Without a backup, set {VARIABLE} for the next start. Then a new key is made, and signatures of"
        " the former one count up to the last version of the policy, and the last event, that it names. Later starts"
        f" read them in {home.former_policy_keys}:\n"
        f"  {VARIABLE}={value}\n{unknown}"
        "See docs/operating/policy-versions.md"
    )


def refuse_unknown_end(home: Home, former_keys: str = "") -> None:
    """Raise ConfigError if policy would get a kept value with which it does not start, as with the word NUMBER."""
    kept = kept_former_keys(home)
    wrong = [one for one in kept.split(",") if one and not _ENTRY.fullmatch(one)]
    if former_keys or not wrong:
        return
    says = f"{_UNKNOWN} in place of the end of a lost key of policy" if has_unknown_end(kept) else repr(wrong[0])
    raise ConfigError(
        f"{home.former_policy_keys} says {says}. Nothing was started.\n"
        f"  {kept}\n"
        "Each entry is KEY@NUMBER or KEY@NUMBER@EVENT, with a comma between two.\n"
        f"{UNKNOWN_END}.\nWrite both there. See docs/operating/policy-versions.md"
    )


def has_unknown_end(value: str) -> bool:
    """Return whether the value has the word NUMBER for a key."""
    return any(one.split("@")[1:2] == [_UNKNOWN] for one in value.split(","))


def drop_lost_policy_key(home: Home) -> None:
    """Remove policy's entries from `keyring.json` if its key is lost: policy signs with no key that a list of its keys
    lacks. Those of other services stay, by which their former keys are refused. Raises ConfigError.
    """
    if not home.seed_file(POLICY).exists():
        _drop_entries(home)


def end_policy_entries(home: Home) -> None:
    """Keep what policy's entries of `keyring.json` say, then remove them. Raises ConfigError."""
    listed = home.keyring().find(POLICY, "current")
    _keep(home, _former(home, home.keyring(), listed.key if listed else home.public(POLICY)))
    _drop_entries(home)


def refuse_declared_lost(home: Home) -> None:
    """Raise Conflict if policy's key in use was said to be lost before: no other key is ended in its favour."""
    if (present := home.public(POLICY)) in _kept(home):
        raise Conflict(
            f"{home.seed_file(POLICY)} holds {present}, which was said to be lost ({home.former_policy_keys}): put the "
            "present file back. If it is lost, remove this one, and repeat the command"
        )


def unfinished_loss(home: Home) -> str:
    """Return the lost key whose replacement is not in `public.yaml` yet, after an interruption; "" if there is none."""
    kept = _kept(home)
    if not kept or home.keyring().of(POLICY) or not home.seed_file(POLICY).exists():
        return ""
    written = home.written_public(POLICY)
    return written if written != home.public(POLICY) and written in kept else ""


def _drop_entries(home: Home) -> None:
    ring = home.keyring()
    if ring.of(POLICY):
        save_keys(home.keyring_file, [one for one in ring.keys if one.name != POLICY])


def keep_former_keys(home: Home, given: str) -> None:
    """Keep the value of WRIT_POLICY_FORMER_KEYS for later starts: policy accepts no version of the lost key without it,
    and would not get ready. A value that policy refuses is not kept.
    """
    entries = [part for one in given.split(",") if (part := one.strip())]
    if entries and home.public_file.exists() and all(map(_ENTRY.fullmatch, entries)):
        _keep(home, entries)


def _keep(home: Home, entries: Iterable[str]) -> None:
    save(home.former_policy_keys, f"{','.join(entries)}\n".encode())


def kept_former_keys(home: Home) -> str:
    """Return the kept value without an entry of the key that is in use: a lost key may be found again.

    It has the word NUMBER where `writ keys lost policy` found no state of policy, and nobody replaced the word.
    """
    return ",".join(entry for key, entry in _kept(home).items() if key != home.public(POLICY))


def _kept(home: Home) -> dict[str, str]:
    """Return each kept entry by its key."""
    try:
        entries = home.former_policy_keys.read_text().split(",")
    except FileNotFoundError:
        return {}
    return {one.partition("@")[0]: one for each in entries if (one := each.strip())}


def _names(value: str, keys: Set[str]) -> bool:
    """Return whether each entry is valid, and each of these keys has one."""
    entries = [one for part in value.split(",") if (one := part.strip())]
    return all(map(_ENTRY.fullmatch, entries)) and keys <= {one.partition("@")[0] for one in entries}


def _former(home: Home, keyring: Keyring, lost: str) -> Iterator[str]:
    """Yield each former key of policy, with the last version and event that it may have signed for."""
    rotated = {one.key: one for one in keyring.of(POLICY) if one.state == "former"}
    kept, ended = _kept(home), [*_retiring(keyring), lost]
    yield from (entry for key, entry in kept.items() if key not in {*rotated, *ended})  # lost before this one
    for one in rotated.values():
        yield f"{one.key}@{one.last_version}@{one.last_event}"
    version = max((one.number for one in _marks(home, f"{POLICY}*/policy-version.json")), default=0)
    event = max((one.sequence for one in _marks(home, "*/journal.json")), default=0)
    for key in ended:
        entry = f"{key}@{version or _UNKNOWN}" + (f"@{event}" if event else "")
        yield entry if version else kept.get(key, entry)


def _retiring(keyring: Keyring) -> list[str]:
    """Return the keys that a rotation replaced and did not end: most versions may be theirs."""
    return [one.key for one in keyring.of(POLICY) if one.state == "retiring"]


def _marks(home: Home, pattern: str) -> Iterator[_Mark]:
    for path in home.state.glob(pattern):
        yield _read_mark(path)


def _read_mark(path: Path) -> _Mark:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Mark)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as it was written: {error}") from error

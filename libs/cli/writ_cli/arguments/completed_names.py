"""Names that few commands take, for a shell to complete: of keys, tokens, credentials, columns, rules and plugins.

As in `completion`, they are read and imported when a shell needs them.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
import msgspec
from click.shell_completion import CompletionItem

from writ_cli.arguments.completion import RECORDED, TROUBLE, asked, catalogue, items, policy_versions, read
from writ_installation.files.home import Home

if TYPE_CHECKING:
    from writ_client.client import Writ
    from writ_contracts.inventory import Principal
    from writ_trust.people import Directory

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def in_folder(names: Callable[[Home], Iterable[str]]) -> Completer:
    """Return a completer of names that a folder's files have."""
    return lambda context, _, word: items(read(lambda home: [*names(home)], context), word)


def installed(names: Callable[[], Iterable[str]]) -> Completer:
    """Return a completer of names that the installed packages have."""

    def complete(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
        try:
            return items(sorted(names()), word)
        except TROUBLE:
            return []

    return complete


def comma_list(names: Iterable[str]) -> Completer:
    """Return a completer of the last of several names with commas between them, without those already given."""
    known = [*names]

    def complete(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
        before, comma, last = word.rpartition(",")
        given = before.split(",")
        return [CompletionItem(before + comma + name) for name in known if name.startswith(last) and name not in given]

    return complete


def commands(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the words of a command, or behind `run` and `simulate` an operation."""
    given = [*(context.params.get(str(parameter.name)) or ())]
    if given in (["run"], ["simulate"]):
        return items(catalogue(), word)
    group: click.Command | None = context.find_root().command
    for name in given:
        group = group.get_command(context, name) if isinstance(group, click.Group) else None
    return items(group.list_commands(context), word) if isinstance(group, click.Group) else []


def version_or_file(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the number of a version of the policy, or a file."""
    return [*policy_versions(context, parameter, word), CompletionItem(word, type="file")]


def sessions(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the id of an open session of the principal or of its AI agents, with its device."""
    return asked(_sessions, context, word)


async def _sessions(writ: "Writ") -> list[tuple[str, str]]:
    return [(one.id, f"of {one.principal} on {one.device}") for one in (await writ.sessions.open_ones()).sessions]


def hidden_parameters(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the `name=` of a parameter of which a request's card has no value."""
    from writ_contracts.parameters import Class, classes  # noqa: PLC0415 - see the module

    async def operation(writ: "Writ") -> list[tuple[str, str]]:
        pending = {one.operation_id: one.operation for one in await writ.approvals.every_pending()}
        own = {one.operation_id: one.operation for one in await writ.open_operations()}
        return [(name, "") for number, name in (pending | own).items() if number == _first(context)]

    known = catalogue()
    named = {one.value for one in asked(operation, context, "")}
    found = (classes(known[name].parameters).items() for name in named if name in known)
    return [] if "=" in word else items((f"{key}=" for one in found for key, kind in one if kind != Class.PUBLIC), word)


def rules(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete a rule of the installation's policy file, or without one a rule of the latest operations on record."""
    return items(read(_rules, context), word) or asked(_recorded_rules, context, word)


def _rules(home: Home) -> list[str]:
    from writ_documents import yaml_file  # noqa: PLC0415 - see the module
    from writ_rules.engine.policy_file.format import written  # noqa: PLC0415 - see the module
    from writ_rules.loading import shaped  # noqa: PLC0415 - see the module

    file = shaped(yaml_file.read(home.policy), catalogue(), "permissive")
    return sorted({rule.entry.name for rule in written(file.policies)})


async def _recorded_rules(writ: "Writ") -> list[tuple[str, str]]:
    from writ_contracts.history.audit import SearchQuery  # noqa: PLC0415 - see the module

    rows = (await writ.search(SearchQuery(limit=RECORDED))).rows
    return [(name, "") for name in sorted({name for row in rows for name in row.rules.split(", ") if name})]


def entry_keys(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the `key=` of a target's entry, and of the keys within its keys."""

    def keys(home: Home) -> list[str]:
        from writ_contracts.inventory import Target  # noqa: PLC0415 - see the module
        from writ_documents.readers import read_inventory  # noqa: PLC0415 - see the module

        names = [name for name in Target.__struct_fields__ if name != "id"]
        for target in read_inventory(home.inventory).targets:
            if target.id == context.params.get("name"):
                entry = msgspec.to_builtins(target)
                names += [f"{key}.{inner}" for key, one in entry.items() if isinstance(one, dict) for inner in one]
        return [f"{name}=" for name in names]

    given = {str(one).partition("=")[0] for one in context.params.get("words") or ()}
    return [one for one in items(read(keys, context), word) if one.value[:-1] not in given]


def tag_changes(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete `+tag` with tags of other targets, `-tag` with those of this one."""

    def changes(home: Home) -> list[str]:
        from writ_documents.readers import read_inventory  # noqa: PLC0415 - see the module

        targets = read_inventory(home.inventory).targets
        own = {tag for one in targets if one.id == context.params.get("name") for tag in one.tags}
        other = {tag for one in targets for tag in one.tags} - own
        return [f"+{tag}" for tag in sorted(other)] + [f"-{tag}" for tag in sorted(own)]

    return items(read(changes, context), word)


def agent_keys(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the public key of an agent on another host, of the key that is to be rotated."""

    def keys(home: Home) -> list[str]:
        from writ_installation.administration.remote_agent_keys import keys_elsewhere  # noqa: PLC0415 - see the module

        return keys_elsewhere(home, _first(context))

    return items(read(keys, context), word)


def scanner_options(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the `name=` of an option of the scanner."""

    def names() -> list[str]:
        from writ_runtime.plugins.entry_points import load_scanners  # noqa: PLC0415 - see the module

        scanner = load_scanners().get(_first(context))
        return [] if scanner is None else [f"{name}=" for name in scanner.options.__struct_fields__]

    return installed(names)(context, parameter, word)


def _first(context: click.Context) -> str:
    """Return the first argument before an option whose value is to be completed: click leaves it unread then."""
    return str(context.args[0]) if context.args else ""


def _sites(home: Home) -> list[str]:
    from writ_installation.nats.leaf_sites import read_leaves  # noqa: PLC0415 - see the module

    leaves = read_leaves(home.leaves)
    return [] if leaves is None else sorted({one.site for one in leaves.leaves})


def _keys(home: Home) -> list[str]:
    from writ_installation.administration.key_list import list_keys  # noqa: PLC0415 - see the module

    return sorted({one.name for one in list_keys(home)})


def _enrolment_tokens(home: Home) -> list[str]:
    from writ_installation.files import tokens  # noqa: PLC0415 - see the module

    return [one.id for one in tokens.known(home)]


def _gateway_tokens(home: Home) -> list[str]:
    from writ_installation.files.gateway_tokens import read_tokens  # noqa: PLC0415 - see the module

    return [one.id for one in read_tokens(home.gateway_tokens)]


def _principals(home: Home) -> "list[Principal]":
    from writ_documents.readers import read_principals  # noqa: PLC0415 - see the module

    return read_principals(home.principals).principals


def _directory(home: Home) -> "Directory | None":
    from writ_installation.administration.credentials import CredentialsDirectory  # noqa: PLC0415 - see the module

    return CredentialsDirectory(home).current


def _credentials(home: Home) -> list[str]:
    directory = _directory(home)
    return [] if directory is None else [key for key, one in directory.entries.items() if one.removed_at is None]


def _roots(home: Home) -> list[str]:
    from writ_trust.presence.certificates import fingerprint  # noqa: PLC0415 - see the module
    from writ_trust.presence.passkeys import decoded  # noqa: PLC0415 - see the module

    directory = _directory(home)
    roots = () if directory is None else directory.attestation_roots
    return [fingerprint(decoded(one.certificate)) for one in roots if one.removed_at is None]


def _relying_parties(home: Home) -> list[str]:
    directory = _directory(home)
    return [] if directory is None else sorted({one.rp_id for one in directory.relying_parties})


def _backends() -> set[str]:
    return {backend for one in catalogue().values() for backend in one.backends}


def _scanners() -> Iterable[str]:
    from writ_runtime.plugins.entry_points import load_scanners  # noqa: PLC0415 - see the module

    return load_scanners()


def _plugins() -> list[str]:
    from writ_runtime.plugins.descriptors import installed_plugins  # noqa: PLC0415 - see the module

    return [one.name for one in installed_plugins()]


keys, sites = in_folder(_keys), in_folder(_sites)
enrolment_tokens, gateway_tokens = in_folder(_enrolment_tokens), in_folder(_gateway_tokens)
humans = in_folder(lambda home: [one.id for one in _principals(home) if one.kind == "human"])
gateways = in_folder(lambda home: [one.id for one in _principals(home) if one.kind == "gateway"])
persons = in_folder(lambda home: sorted({one.person or one.id for one in _principals(home) if one.kind == "human"}))
credentials, roots, relying_parties = in_folder(_credentials), in_folder(_roots), in_folder(_relying_parties)
backends, scanners, plugins = installed(_backends), installed(_scanners), installed(_plugins)

"""The AsyncAPI 3 document of Writ, from the registry of subjects and the message structs; nothing is said twice."""

from types import ModuleType
from typing import Any, get_args

import msgspec
from msgspec import Struct

import writ_contracts.agents
import writ_contracts.decisions
import writ_contracts.journal
import writ_contracts.people.approvals
import writ_contracts.policy.facts
import writ_contracts.requests
from docs.generate.docstrings import evened
from writ_contracts.registry import CHANNELS, Channel, Role, Style, summary_of

SIGNED_IN: tuple[ModuleType, ...] = (
    writ_contracts.agents,
    writ_contracts.people.approvals,
    writ_contracts.decisions,
    writ_contracts.policy.facts,
    writ_contracts.journal,
    writ_contracts.requests,
)
ACTIONS = {Style.REQUEST: "receive", Style.PUBLISH: "receive", Style.STREAM: "receive", Style.REPUBLISH: "send"}
TOKENS = {
    "principal": "Who asks. The NATS server lets only that principal's key publish here.",
    "operation": "The name of an operation of the catalogue.",
    "operation_id": "One operation.",
    "pool": "The agents that serve a target.",
    "token": "A one-time token. The NATS server lets only its holder publish here.",
    "target": "A target of the inventory.",
    "instance": "One running agent process.",
    "kind": "What kind of event it is.",
    "window": "The id of an approval window.",
    "line": "A digest of the limit's kind and its rule's name.",
    "rest": "One or more tokens (`>` of NATS).",
}
ABOUT = """\
Every subject that Writ uses. Requests from outside may be JSON or MessagePack, as their Content-Type says (JSON if it
says nothing); everything else is JSON. `Signed.payload` is one of the structs whose `type` is named writ.….v1.
Operations are told from the side of those who serve a channel (`x-receivers`): they receive, and reply to the NATS
reply subject. `send` is what the server itself publishes once the journal has stored it.
"""


def document() -> dict[str, Any]:
    """Return the whole document as plain data."""
    names: dict[str, type[Struct]] = {kind.__name__: kind for item in CHANNELS for kind in _kinds(item)}
    _, schemas = msgspec.json.schema_components(every_struct(), ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Writ", "version": "0.1.0", "description": ABOUT, "license": {"name": "Apache-2.0"}},
        "defaultContentType": "application/json",
        "channels": {item.name: _channel(item) for item in CHANNELS},
        "operations": {item.name: _operation(item) for item in CHANNELS},
        "components": {
            "messages": {name: _message(name, kind) for name, kind in sorted(names.items())} | {"Sealed": SEALED},
            "schemas": evened(_plain_discriminators(dict(sorted(schemas.items())))),
        },
    }


def _plain_discriminators(schema: Any) -> Any:
    """Return the schema with each discriminator by its name alone: AsyncAPI has no mapping, unlike OpenAPI."""
    if isinstance(schema, list):
        return [_plain_discriminators(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _plain_discriminators(value) for name, value in schema.items()}
    if isinstance(plain.get("discriminator"), dict) and "propertyName" in plain["discriminator"]:
        plain["discriminator"] = plain["discriminator"]["propertyName"]
    return plain


def every_struct() -> list[type[Struct]]:
    """Return by name the messages of all channels, and the statements that travel inside a signature."""
    found = {kind for item in CHANNELS for kind in _kinds(item)}
    found |= {kind for module in SIGNED_IN for kind in vars(module).values() if _is_statement(kind)}
    return sorted(found, key=lambda kind: kind.__name__)


SEALED = {
    "name": "Sealed",
    "contentType": "application/octet-stream",
    "summary": "Encrypted by an executor for its replicas.",
    "payload": {"type": "string", "format": "binary"},
}


def _channel(item: Channel) -> dict[str, Any]:
    names = [part[1:-1] for part in item.address.split(".") if part.startswith("{")]
    messages = [*_names(item.message), *(_names(item.answer) if item.answer else [])]
    channel: dict[str, Any] = {
        "address": item.address,
        "description": item.summary,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in dict.fromkeys(messages)},
    }
    if names:
        channel["parameters"] = {name: {"description": TOKENS[name]} for name in names}
    return channel


def _operation(item: Channel) -> dict[str, Any]:
    channel = {"$ref": f"#/channels/{item.name}"}
    operation: dict[str, Any] = {
        "action": ACTIONS[item.style],
        "channel": channel,
        "summary": item.summary,
        "messages": [_in_channel(item, name) for name in _names(item.message)],
        "x-style": item.style.value,
        "x-senders": [role.value for role in item.senders],
        "x-receivers": [role.value for role in item.receivers],
    }
    if item.style is Style.REQUEST and Role.AGENT not in item.receivers:
        operation["bindings"] = {"nats": {"queue": f"q-{item.receivers[0].value}", "bindingVersion": "0.1.0"}}
    if item.answer:
        answers = [_in_channel(item, name) for name in _names(item.answer)]
        operation["reply"] = {"channel": channel, "messages": answers}
    return operation


def _message(name: str, kind: type[Struct]) -> dict[str, Any]:
    return {"name": name, "summary": summary_of(kind), "payload": {"$ref": f"#/components/schemas/{name}"}}


def _in_channel(item: Channel, name: str) -> dict[str, str]:
    return {"$ref": f"#/channels/{item.name}/messages/{name}"}


def _names(message: Any) -> list[str]:
    return [kind.__name__ if kind is not bytes else "Sealed" for kind in get_args(message) or (message,)]


def _kinds(item: Channel) -> list[type[Struct]]:
    every = [kind for message in (item.message, item.answer) for kind in get_args(message) or (message,)]
    return [kind for kind in every if kind is not None and kind is not bytes]


def _is_statement(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct) and str(kind.__struct_config__.tag).startswith("writ.")

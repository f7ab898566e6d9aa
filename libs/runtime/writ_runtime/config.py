"""Configuration from the environment: one frozen struct per service, read once. Errors name the variable.

Each field is `Annotated[type, env("NAME", "description")]`; further `Meta` constraints hold as well. An empty variable
counts as unset. Values never appear in errors: some of them are secret.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import FieldInfo, fields

from writ_contracts.errors import ConfigError
from writ_contracts.ids import InstallationId, in_words

Loaded = TypeVar("Loaded", bound=Struct)
Collector = Annotated[str, Meta(pattern=r"^https?://[^/\s]")]
_EXPECTED = {"integer": "a whole number", "number": "a number without a unit", "true or false": "true or false"}
Port = Annotated[int, Meta(ge=0, le=65535)]


class Variable(Struct, frozen=True):
    """An environment variable for the documentation; `default` is None if it must be set."""

    name: str
    type: str
    default: str | None
    description: str


def env(name: str, description: str) -> Meta:
    """Mark a field as read from the environment variable `name`."""
    return Meta(description=description, extra={"env": name})


JournalLost = Annotated[
    int,
    env(
        "WRIT_JOURNAL_LOST",
        "sequence up to which the journal was lost or restored: a difference up to it raises no alarm",
    ),
]


class ServiceConfig(Struct, frozen=True, kw_only=True):
    """Variables common to all services. Each service's own configuration adds to it."""

    home: Annotated[Path, env("WRIT_HOME", "folder of keys, state and run files")] = Path(".writ")
    nats_url: Annotated[str, env("NATS_URL", "the NATS server, such as nats://127.0.0.1:4222 or tls://…")]
    key_file: Annotated[Path, env("WRIT_KEY_FILE", "this process's own nkey seed, mode 0600")]
    installation: Annotated[
        str, env("WRIT_INSTALLATION", "id of the installation, as in its installation.yaml; signed statements name it")
    ] = ""
    tls_ca: Annotated[
        str | None,
        env("WRIT_TLS_CA", "certificates to trust for NATS: a PEM file, or der: and the certificate in base64"),
    ] = None
    tls_cert: Annotated[Path | None, env("WRIT_TLS_CERT", "client certificate for NATS, PEM")] = None
    tls_key: Annotated[Path | None, env("WRIT_TLS_KEY", "key of the client certificate, PEM, mode 0600")] = None
    plaintext: Annotated[
        Literal["refuse", "allow"],
        env("WRIT_NATS_PLAINTEXT", "allow: reach NATS on other machines without TLS, in a network that is private"),
    ] = "refuse"
    health_host: Annotated[str, env("WRIT_HEALTH_HOST", "where /healthz, /readyz and /metrics listen")] = "127.0.0.1"
    health_port: Annotated[Port, env("WRIT_HEALTH_PORT", "their port; 0 takes any free one")] = 0
    run_file: Annotated[
        Path | None, env("WRIT_RUN_FILE", "written when ready, removed at the end: JSON with pid, health_port and name")
    ] = None
    otlp_endpoint: Annotated[
        Collector | None,
        env(
            "OTEL_EXPORTER_OTLP_ENDPOINT", "collector to send spans to, such as http://127.0.0.1:4318; unset: none are"
        ),
    ] = None
    otlp_traces_endpoint: Annotated[
        Collector | None,
        env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "the same as a complete URL, with its path /v1/traces"),
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], env("WRIT_LOG_LEVEL", "the least severe level that is logged")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        env("WRIT_LOG_FORMAT", "auto is console on a terminal, JSON lines elsewhere"),
    ] = "auto"


class SignerConfig(ServiceConfig, frozen=True, kw_only=True):
    """Variables of services which sign statements, or act on signed ones."""

    keyring: Annotated[
        Path | None,
        env("WRIT_KEYRING", "keyring.json: policy's keys after a rotation; it replaces WRIT_POLICY_KEY"),
    ] = None

    installation: Annotated[
        InstallationId,
        env("WRIT_INSTALLATION", "id of the installation, as in its installation.yaml; signed statements name it"),
    ]


def load(kind: type[Loaded], environ: Mapping[str, str]) -> Loaded:
    """Return the configuration. Raises ConfigError with all mistakes."""
    values: dict[str, object] = {}
    problems: list[str] = []
    for field, meta, hint in _variables(kind):
        name = _name(meta)
        text = environ.get(name, "")
        if text:
            try:
                value = values[field.name] = msgspec.convert(text, hint, strict=False, dec_hook=_decode)
            except msgspec.ValidationError as error:
                problems.append(f"{name}: {_why(hint, error)}{_help(field, meta, hint)}")
            else:
                if isinstance(value, float) and not math.isfinite(value):
                    problems.append(f"{name}: expected a finite number{_help(field, meta, hint)}")
        elif field.required:
            problems.append(f"{name} is not set ({meta.description})")
    if problems:
        raise ConfigError(*problems)
    return kind(**values)


def describe(kind: type[Struct]) -> list[Variable]:
    """Return the variables of a configuration, in the order of its fields."""
    return [
        Variable(_name(meta), _type_text(hint), _default_text(field), meta.description or "")
        for field, meta, hint in _variables(kind)
    ]


def _variables(kind: type[Struct]) -> Iterator[tuple[FieldInfo, Meta, Any]]:
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        metas = [meta for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, Meta) and meta.extra]
        if not metas:
            raise TypeError(f"{kind.__name__}.{field.name} names no environment variable")
        yield field, metas[-1], hint


def _name(meta: Meta) -> str:
    return str((meta.extra or {})["env"])


def _decode(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError(f"configuration of type {kind.__name__}")


def _type_text(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Annotated:
        return _type_text(get_args(hint)[0])
    if origin is Literal:
        return ", ".join(str(choice) for choice in get_args(hint))
    if origin in (Union, UnionType):
        return " or ".join(_type_text(arm) for arm in get_args(hint) if arm is not type(None))
    return {str: "text", int: "integer", float: "number", bool: "true or false", Path: "path"}.get(hint, str(hint))


def _default_text(field: FieldInfo) -> str | None:
    if field.required:
        return None
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default is None else str(default)


def _why(hint: Any, error: msgspec.ValidationError) -> str:
    """Return the permitted values; msgspec would name only the wrong one."""
    if get_origin(kind := get_args(hint)[0]) is Literal:
        return f"must be one of {_type_text(kind)}"
    if kind == Collector | None:
        return "must begin with http:// or https:// and a host"
    text = in_words(str(error)).replace("`int`", "a whole number").replace("`float`", "a number")
    if text.endswith(", got `str`") and (kind := _type_text(hint)) in _EXPECTED:
        return f"expected {_EXPECTED[kind]}"
    return text[:1].lower() + text[1:]


def _help(field: FieldInfo, meta: Meta, hint: Any) -> str:
    """Return the meaning of a number or switch, with its unit, and an example."""
    if _type_text(hint) not in _EXPECTED:
        return ""
    example = (_default_text(field) or "").removesuffix(".0")
    return f" ({meta.description}){f', such as {example}' if example else ''}"

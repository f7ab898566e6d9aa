"""Requests and answers of hostops as JSON objects, one a line.

A request is {id, action, operation, parameters, target, baseline?, timeout?, attempt?, shown?, diff?}. The answers
are any number of {id, event: "progress", message}, then exactly one {id, event: "result", outcome, code, message,
output, state, effect, certain}. Unknown fields are refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from writ_hostops.errors import HostError
from writ_hostops.fields import Fields
from writ_hostops.stop import CancelToken

ACTIONS = ("run", "baseline", "probe", "preview", "listing", "survey", "leftovers", "clean")
MAX_LINE = 8 * 1024 * 1024
"""Bytes of a request: 1 MiB of content fits with any JSON escapes."""
MAX_TIMEOUT = 86400.0
DEFAULT_TIMEOUT = 60.0
MAX_MESSAGE = 500
MAX_OUTPUT = 1024 * 1024

# Ids become names of marker files.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True)
class HostFileRoot:
    """A folder for file operations; system folders need an explicit permission."""

    path: str
    allow_system_root: bool = False


@dataclass(frozen=True)
class HostBackup:
    """The target's restic repository; its password is in a file of the host.

    `host`: the name of the backups in the repository ("": the host's own). Backups of other names are not read.
    """

    repository: str
    password_file: str
    host: str = ""

    @property
    def folder(self) -> str:
        """Return the repository's folder on this host; "" if it is elsewhere."""
        path = self.repository.removeprefix("local:")
        return path if path.startswith("/") else ""


@dataclass(frozen=True)
class HostTarget:
    """The permissions of the target's inventory entry. `forbidden_paths` are Writ's own; a `state_dir` of "" means no
    markers.
    """

    file_roots: Tuple[HostFileRoot, ...] = ()
    forbidden_paths: Tuple[str, ...] = ()
    max_output: int = MAX_OUTPUT
    state_dir: str = ""
    backup: Optional[HostBackup] = None
    scan_networks: Tuple[str, ...] = ()


@dataclass(frozen=True)
class HostRequest:
    """A request, checked in form; the operation's handler checks its parameters."""

    id: str
    action: str
    operation: str
    parameters: Mapping[str, Any]
    target: HostTarget
    baseline: Mapping[str, Any]
    timeout: float
    attempt: int
    shown: Tuple[str, ...] = ()
    """The public fields of the output, which this host may keep with its mark."""
    diff: bool = False
    """A preview may quote the present content of files."""


def at_once() -> None:
    """Wait for nothing."""


@dataclass(frozen=True)
class OperationCall:
    """The arguments of a handler. `expected`: data for a probe, from this host's own marker of the operation `id`.

    `before_effect` waits until the mark of the operation is on the disk. Handlers of operations whose mark is synced
    while they prepare (`operations.PREPARING`) call it before their effect.
    """

    operation: str
    parameters: Mapping[str, Any]
    target: HostTarget
    stop: CancelToken
    progress: Callable[[str], None]
    baseline: Mapping[str, Any] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    diff: bool = False
    before_effect: Callable[[], None] = at_once

    @property
    def public_id(self) -> str:
        """Return a digest in place of `id`, for arguments and stores: every user of a host can read arguments (ps)."""
        return hashlib.sha256(self.id.encode("utf-8")).hexdigest()[:32]


@dataclass(frozen=True)
class HostReply:
    """The result of a request. `output` is the operation's own; `state` is the host's state now, always public.

    `effect`: none, done or maybe. `certain`: nothing of it runs any more, so `effect` is final.
    """

    output: Dict[str, Any] = field(default_factory=dict)
    state: Dict[str, Any] = field(default_factory=dict)
    effect: str = "none"
    outcome: str = "succeeded"
    code: str = ""
    message: str = ""
    certain: bool = True


def verdict(word: str, reason: str, state: Dict[str, Any]) -> HostReply:
    """Return a probe's answer: `succeeded`, `not_done` or `unknown`."""
    return HostReply(output={"verdict": word, "reason": reason}, state=state)


def with_lack(preview: HostReply, reason: str) -> HostReply:
    """Return a preview that also says why the operation would probably be refused; unchanged without a reason."""
    return replace(preview, output={**preview.output, "lacks": reason}) if reason else preview


def failure(error: HostError) -> HostReply:
    return HostReply(
        output=error.output,
        state=error.state,
        effect=error.effect,
        outcome=error.outcome,
        code=error.code,
        message=error.message[:MAX_MESSAGE],
        certain=error.certain,
    )


def result(request_id: str, answer: HostReply) -> Dict[str, Any]:
    """Return the last line about a request."""
    return {
        "id": request_id,
        "event": "result",
        "outcome": answer.outcome,
        "code": answer.code,
        "message": answer.message,
        "output": answer.output,
        "state": answer.state,
        "effect": answer.effect,
        "certain": answer.certain,
    }


def parse_line(line: bytes) -> object:
    """Return the JSON value of a line; HostError `invalid_parameter` for anything else."""
    try:
        return json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise HostError("invalid_parameter", "the request is not JSON") from None


def id_of(raw: object) -> str:
    """Return the id of a request that may be malformed otherwise; "" if it has none fit to be echoed."""
    value = raw.get("id") if isinstance(raw, dict) else None
    return value if isinstance(value, str) and _ID.fullmatch(value) else ""


def parse_request(raw: object) -> HostRequest:
    """Return the request. HostError `invalid_parameter` names the field; `unsupported` is an unknown action."""
    fields = Fields(raw, "request")
    request_id = fields.text("id")
    if not _ID.fullmatch(request_id):
        raise fields.wrong("id", "must be letters, digits, '_', '.' and '-', at most 128")
    action = fields.text("action")
    if action not in ACTIONS:
        raise HostError("unsupported", f"no such action; there are {', '.join(ACTIONS)}")
    parameters = dict(fields.mapping("parameters"))
    seconds = Fields({"timeout": parameters.pop("timeout", None)}, "parameters").number(
        "timeout", DEFAULT_TIMEOUT, MAX_TIMEOUT
    )
    request = HostRequest(
        id=request_id,
        action=action,
        operation=fields.text("operation"),
        parameters=parameters,
        target=parse_target(fields.mapping("target")),
        baseline=fields.mapping("baseline"),
        timeout=fields.number("timeout", seconds, MAX_TIMEOUT),
        attempt=fields.integer("attempt", 1, 1, 1_000_000),
        shown=tuple(_text(item, "request.shown") for item in fields.items("shown")),
        diff=fields.flag("diff", False),
    )
    fields.end()
    return request


def parse_target(raw: object) -> HostTarget:
    fields = Fields(raw, "target")
    state_dir = fields.text("state_dir", "")
    target = HostTarget(
        file_roots=tuple(_file_root(item) for item in fields.items("file_roots")),
        forbidden_paths=tuple(_absolute(item, "target.forbidden_paths") for item in fields.items("forbidden_paths")),
        max_output=fields.integer("max_output", MAX_OUTPUT, 1, MAX_OUTPUT),
        state_dir=_absolute(state_dir, "target.state_dir") if state_dir else "",
        backup=_backup(fields.mapping("backup")),
        scan_networks=tuple(_text(item, "target.scan_networks") for item in fields.items("scan_networks")),
    )
    fields.end()
    return target


def _backup(raw: Mapping[str, Any]) -> Optional[HostBackup]:
    if not raw:
        return None
    fields = Fields(dict(raw), "target.backup")
    backup = HostBackup(
        repository=_text(fields.text("repository"), "target.backup.repository"),
        password_file=_absolute(fields.text("password_file"), "target.backup.password_file"),
        host=_text(fields.text("host", ""), "target.backup.host"),
    )
    fields.end()
    return backup


def _file_root(raw: object) -> HostFileRoot:
    if isinstance(raw, str):
        return HostFileRoot(_folder(raw))
    fields = Fields(raw, "target.file_roots")
    root = HostFileRoot(_folder(fields.text("path")), fields.flag("allow_system_root", False))
    fields.end()
    return root


def _folder(value: str) -> str:
    """Remove the trailing slash that a root may have."""
    return _absolute(value, "target.file_roots").rstrip("/") or "/"


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or "\0" in value or "\n" in value:
        raise HostError("invalid_parameter", f"{name} must be one line of text")
    return value


def _absolute(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise HostError("invalid_parameter", f"{name} must hold absolute paths")
    return value

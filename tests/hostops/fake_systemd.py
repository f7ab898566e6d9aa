"""A small system bus with systemd: a thread with D-Bus on a Unix socket.

It knows units as tables of properties and plays each job by the unit's `jobs`: "done", "failed", "canceled", …; "hangs"
until it is cancelled; "stuck" even then; "refused …"; "dies" (the connection breaks once the job is queued).
"""

import contextlib
import itertools
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jeepney import HeaderFields, Message, MessageType, new_error, new_method_return, new_signal
from jeepney.low_level import Parser
from jeepney.wrappers import DBusAddress

NAME = "org.freedesktop.systemd1"
MANAGER = "/org/freedesktop/systemd1"
OWNER = ":1.7"
CLIENT = ":1.42"


_SIMPLE: dict[str, tuple[tuple[Any, ...], str]] = {
    "Hello": (("s", (CLIENT,)), "org.freedesktop.DBus"),
    "GetNameOwner": (("s", (OWNER,)), "org.freedesktop.DBus"),
    "AddMatch": ((), "org.freedesktop.DBus"),
    "Subscribe": ((), OWNER),
}


@dataclass
class FakeUnit:
    """A unit; `jobs` has the results of the next jobs, and the last result repeats."""

    id: str
    active: str = "active"
    sub: str = "running"
    load: str = "loaded"
    invocation: int = 1
    result: str = "success"
    status: int = 0
    can_start: bool = True
    can_stop: bool = True
    jobs: list[str] = field(default_factory=lambda: ["done"])
    then: str = ""
    """After a job, if not what the verb says: "failed", "auto-restart", "activating", "oneshot", "forgotten"."""
    job: int = 0
    aliases: list[str] = field(default_factory=list)
    type: str = "notify"
    lives: int = -1
    """For so many reads after a job; then it dies. -1: without end."""

    def properties(self, interface: str) -> dict[str, tuple[str, Any]]:
        """Return the reply to Get."""
        if interface.endswith(".Unit"):
            if self.invocation > 1 and self.lives >= 0:
                self.lives -= 1
                if self.lives < 0:
                    self.active, self.sub, self.result, self.status = "failed", "failed", "exit-code", 3
            return {
                "Id": ("s", self.id),
                "Names": ("as", [self.id, *self.aliases]),
                "Description": ("s", f"The unit {self.id}"),
                "LoadState": ("s", self.load),
                "ActiveState": ("s", self.active),
                "SubState": ("s", self.sub),
                "UnitFileState": ("s", "enabled"),
                "InvocationID": ("ay", bytes([self.invocation] * 16)),
                "ActiveEnterTimestamp": ("t", 1_700_000_000_000_000 + self.invocation),
                "ActiveEnterTimestampMonotonic": ("t", 1000 + self.invocation),
                "Job": ("(uo)", (self.job, f"{MANAGER}/job/{self.job}" if self.job else "/")),
                "CanStart": ("b", self.can_start),
                "CanStop": ("b", self.can_stop),
                "NeedDaemonReload": ("b", False),
            }
        return {
            "Type": ("s", self.type),
            "Result": ("s", self.result),
            "MainPID": ("u", 4711),
            "ExecMainStatus": ("i", self.status),
            "NRestarts": ("u", 2),
        }

    def act(self, verb: str) -> None:
        """Change the state as a completed job does."""
        if verb == "StopUnit" and self.active != "inactive":
            self.active, self.sub = "inactive", "dead"
        elif verb == "RestartUnit" or (verb == "StartUnit" and self.active != "active"):
            self.invocation += 1
            self.active, self.sub = "active", "running"
        if self.then == "forgotten":
            self.invocation -= 1
        if self.then == "failed":
            self.active, self.sub, self.result, self.status = "failed", "failed", "exit-code", 3
        elif self.then in ("auto-restart", "activating"):
            self.active, self.sub, self.result = "activating", self.then, "exit-code"
        elif self.then in ("oneshot", "forgotten"):
            self.active, self.sub = "inactive", "dead"


class FakeSystemd:
    """The bus; `units` by name, aliases too. `calls` records the calls."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bus"
        self.units: dict[str, FakeUnit] = {}
        self.files: list[tuple[str, str]] = []
        self.calls: list[tuple[Any, ...]] = []
        self.queued = threading.Event()
        self.spoof = False
        self._job_numbers = itertools.count(100)
        self._hanging: dict[str, tuple[FakeUnit, str]] = {}
        self._subscribed = False
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.path))
        self._server.listen()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    @property
    def address(self) -> str:
        """Return the value for DBUS_SYSTEM_BUS_ADDRESS."""
        return f"unix:path={self.path}"

    def add(self, name: str, **facts: Any) -> FakeUnit:
        """A unit under its own name."""
        self.units[name] = FakeUnit(name, **facts)
        return self.units[name]

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(self.path))
        self._thread.join()
        self._server.close()

    def _accept(self) -> None:
        while True:
            client, _ = self._server.accept()
            with client, contextlib.suppress(OSError):
                if not _authenticated(client):
                    return
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        parser, serials = Parser(), itertools.count(1)
        self._subscribed = False
        self._hanging.clear()
        while data := client.recv(65536):
            parser.add_data(data)
            while (message := parser.get_next_message()) is not None:
                for answer, sender in self._answers(message):
                    answer.header.fields[HeaderFields.sender] = sender
                    answer.header.fields[HeaderFields.destination] = CLIENT
                    client.sendall(answer.serialise(serial=next(serials)))

    def _answers(self, message: Message) -> Iterator[tuple[Message, str]]:
        fields = message.header.fields
        path, member, body = fields[HeaderFields.path], fields[HeaderFields.member], message.body
        self.calls.append((member, *body))
        if member in _SIMPLE:
            self._subscribed |= member == "Subscribe"
            answer, sender = _SIMPLE[member]
            yield new_method_return(message, *answer), sender
        elif member == "RefUnit":
            yield _error(message, "org.freedesktop.DBus.Error.AccessDenied", "not for you"), OWNER
        elif member == "GetAll":
            yield new_method_return(message, "a{sv}", (self._loaded(path).properties(body[0]),)), OWNER
        elif member == "ListUnits":
            rows = [(unit.id, "", unit.load, "", "", "", _path_of(unit.id), 0, "", "/") for unit in self.units.values()]
            yield new_method_return(message, "a(ssssssouso)", (rows,)), OWNER
        elif member == "ListUnitFiles":
            yield new_method_return(message, "a(ss)", (self.files,)), OWNER
        elif member == "Get":
            value = self._loaded(path).properties(body[0]).get(body[1])
            if value is None:
                yield _error(message, "org.freedesktop.DBus.Error.UnknownProperty", "no such property"), OWNER
            else:
                yield new_method_return(message, "v", (value,)), OWNER
        elif member == "Cancel":
            yield from self._cancel(message, path)
        else:
            yield from self._job(message, member, self.units[body[0]])

    def _loaded(self, path: str) -> FakeUnit:
        """Return the unit of that path; as systemd does, create one for an unknown name."""
        for name, unit in self.units.items():
            if _path_of(name) == path:
                return unit
        name = re.sub("_([0-9a-f]{2})", lambda escape: chr(int(escape[1], 16)), path.rpartition("/")[2])
        return self.units.setdefault(name, FakeUnit(name, load="not-found", active="inactive", sub="dead"))

    def _job(self, message: Message, verb: str, unit: FakeUnit) -> Iterator[tuple[Message, str]]:
        play = unit.jobs[0] if len(unit.jobs) == 1 else unit.jobs.pop(0)
        if play.startswith("refused"):
            yield _error(message, play.partition(" ")[2], f"Unit {unit.id} is refused."), OWNER
            return
        unit.job = next(self._job_numbers)
        path = f"{MANAGER}/job/{unit.job}"
        if self.spoof:
            yield self._removed(unit, path, "done"), ":1.666"
        if play in ("hangs", "stuck"):
            self._hanging[path] = (unit, play)
        yield new_method_return(message, "o", (path,)), OWNER
        if play == "dies":
            raise OSError("the bus is gone")
        if play not in ("hangs", "stuck"):
            if play == "done":
                unit.act(verb)
            elif play != "canceled":
                unit.active, unit.sub, unit.result, unit.status = "failed", "failed", "exit-code", 3
            unit.job = 0
            yield self._removed(unit, path, play), OWNER
        self.queued.set()

    def _cancel(self, message: Message, path: str) -> Iterator[tuple[Message, str]]:
        unit, play = self._hanging.pop(path)
        yield new_method_return(message), OWNER
        if play == "hangs":
            unit.job = 0
            if unit.then:
                unit.act("")
            yield self._removed(unit, path, "canceled"), OWNER

    def _removed(self, unit: FakeUnit, path: str, result: str) -> Message:
        assert self._subscribed, "systemd tells only those who subscribed"
        manager = DBusAddress(MANAGER, NAME, f"{NAME}.Manager")
        return new_signal(manager, "JobRemoved", "uoss", (int(path.rpartition("/")[2]), path, unit.id, result))


def _authenticated(client: socket.socket) -> bool:
    line = b""
    while not line.endswith(b"BEGIN\r\n"):
        byte = client.recv(1)  # the first message may follow at once
        if not byte:
            return False
        line += byte
        if b"AUTH" in line and line.endswith(b"\r\n"):
            client.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
            line = b""
    return True


def _path_of(name: str) -> str:
    """Escape by systemd's own `bus_label_escape`, a leading digit too."""
    plain = re.compile("[A-Za-z]"), re.compile("[A-Za-z0-9]")
    escaped = (c if plain[at > 0].match(c) else f"_{ord(c):02x}" for at, c in enumerate(name))
    return f"{MANAGER}/unit/{''.join(escaped)}"


def _error(message: Message, name: str, text: str) -> Message:
    error = new_error(message, name, "s", (text,))
    assert error.header.message_type is MessageType.error
    return error

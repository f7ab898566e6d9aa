"""systemd over D-Bus (org.freedesktop.systemd1(5)): the one importer of jeepney, whose errors end here.

A job's result comes by the signal JobRemoved, which systemd sends only to those who subscribed before; it counts only
if it comes from systemd's own connection, since anybody on the bus can send a signal of that name.
"""

from __future__ import annotations

import select
import time
from collections import deque
from contextlib import contextmanager
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Tuple

from jeepney import DBusAddress, HeaderFields, MatchRule, Message, MessageType, message_bus, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from writ_hostops.errors import HostError
from writ_hostops.stop import Stop
from writ_hostops.systemd.unit import PROPERTIES, JobEnd, Unit, unit_from

REPLY_TIMEOUT = 10.0
CANCEL_TIMEOUT = 5.0
_NAME = "org.freedesktop.systemd1"
_MANAGER = DBusAddress("/org/freedesktop/systemd1", _NAME, f"{_NAME}.Manager")
_VERBS = {"start": "StartUnit", "stop": "StopUnit", "restart": "RestartUnit"}

_CODES = {
    f"{_NAME}.NoSuchUnit": "unit_not_found",
    "org.freedesktop.DBus.Error.AccessDenied": "permission_denied",
    "org.freedesktop.DBus.Error.AuthFailed": "permission_denied",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired": "permission_denied",
    "org.freedesktop.DBus.Error.InvalidArgs": "invalid_parameter",
    "org.freedesktop.DBus.Error.ServiceUnknown": "unavailable",
    "org.freedesktop.DBus.Error.NameHasNoOwner": "unavailable",
    "org.freedesktop.DBus.Error.NoReply": "unavailable",
    "org.freedesktop.DBus.Error.Spawn.ExecFailed": "unavailable",
}


# A systemd older than the property.
_LACKING = ("org.freedesktop.DBus.Error.UnknownProperty", "org.freedesktop.DBus.Error.UnknownInterface")


class NoBus(Exception):
    """There is no system bus on this host."""


@contextmanager
def system_bus() -> Iterator[SystemdOnBus]:
    """A connection to the system bus (DBUS_SYSTEM_BUS_ADDRESS, or its usual place); NoBus if there is none."""
    try:
        connection = open_dbus_connection(bus="SYSTEM")
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NoBus from error
    except Exception as error:  # jeepney has several kinds of its own for an address or greeting it does not like
        raise HostError("unavailable", f"the system bus does not let us in ({type(error).__name__})") from error
    with connection:
        yield SystemdOnBus(connection)


class SystemdOnBus:
    """Systemd (see unit.py) on one connection, for one thread."""

    def __init__(self, connection: DBusConnection) -> None:
        self._connection = connection
        self._rule: Optional[MatchRule] = None
        self._signals: Deque[Message] = deque()

    def unit(self, name: str) -> Unit:
        """All properties in one exchange: the questions are sent together, and the answers picked up."""
        path = self._call(_MANAGER, "LoadUnit", "s", (name,))[0]
        kind = name.rpartition(".")[2].capitalize()
        wanted = {key: interface or kind for key, interface in PROPERTIES.items() if interface in ("Unit", "", kind)}
        questions = [
            new_method_call(
                DBusAddress(path, _NAME, "org.freedesktop.DBus.Properties"), "Get", "ss", (f"{_NAME}.{interface}", key)
            )
            for key, interface in wanted.items()
        ]
        replies = zip(wanted, self._ask(questions, effect="none"))
        unit = unit_from({key: _plain(_body(reply)[0]) for key, reply in replies if _error_name(reply) not in _LACKING})
        if unit.load_state == "not-found":
            raise HostError("unit_not_found", f"systemd knows no unit {name}")
        return unit

    def job(self, verb: str, name: str, stop: Stop, progress: Callable[[str], None]) -> JobEnd:
        """See Systemd. If the connection breaks once the job may be queued, that is HostError with the effect maybe."""
        owner = _body(self._ask([message_bus.GetNameOwner(_NAME)], effect="none")[0])[0]
        self._rule = MatchRule(type="signal", sender=owner, interface=_MANAGER.interface, member="JobRemoved")
        _body(self._ask([message_bus.AddMatch(self._rule)], effect="none")[0])
        self._call(_MANAGER, "Subscribe", "", ())
        stop.check()
        path = self._call(_MANAGER, _VERBS[verb], "ss", (name, "replace"), effect="maybe")[0]
        progress(f"systemd job {path.rpartition('/')[2]}: {verb} {name}")
        with _lost_connections("maybe"):
            return self._await(path, stop)

    def _await(self, path: str, stop: Stop) -> JobEnd:
        try:
            return JobEnd(self._job_result(path, stop))
        except HostError as error:
            if error.code not in ("cancelled", "timeout"):
                raise
            reason = error.code
        try:
            self._call(DBusAddress(path, _NAME, f"{_NAME}.Job"), "Cancel", "", (), effect="maybe")
        except HostError as error:
            if error.code not in ("job_failed", "permission_denied"):
                raise
            # Either it has just ended, and the signal is on its way; or we may not, and the wait below tells nothing.
        with Stop(CANCEL_TIMEOUT) as patience:
            try:
                return JobEnd(self._job_result(path, patience), reason)
            except HostError as error:
                if error.code != "timeout":
                    raise
                return JobEnd("", reason)

    def _job_result(self, path: str, stop: Stop) -> str:
        while True:
            while self._signals:
                _, job, _, result = self._signals.popleft().body
                if job == path:
                    return str(result)
            try:
                self._keep(self._connection.receive(timeout=0))  # what is in its buffer is not seen by select
            except TimeoutError:
                select.select([self._connection.sock, stop], [], [], stop.remaining())
                stop.check()

    def _call(
        self, address: DBusAddress, method: str, signature: str, body: Tuple[Any, ...], effect: str = "none"
    ) -> Tuple[Any, ...]:
        return _body(self._ask([new_method_call(address, method, signature or None, body)], effect)[0])

    def _ask(self, questions: List[Message], effect: str) -> List[Message]:
        """The replies, in order. `effect` is what may have happened if the connection breaks."""
        with _lost_connections(effect):
            serials = []
            for question in questions:
                serials.append(next(self._connection.outgoing_serial))
                self._connection.send(question, serial=serials[-1])
            replies: Dict[int, Message] = {}
            deadline = time.monotonic() + REPLY_TIMEOUT
            while len(replies) < len(serials):
                message = self._connection.receive(timeout=max(0.0, deadline - time.monotonic()))
                replies[message.header.fields.get(HeaderFields.reply_serial, 0)] = message
                replies.pop(0, None)
                self._keep(message)
        return [replies[serial] for serial in serials]

    def _keep(self, message: Message) -> None:
        """Put aside a signal that a job has ended; whatever else comes is nobody's."""
        if self._rule is not None and self._rule.matches(message):
            self._signals.append(message)


@contextmanager
def _lost_connections(effect: str) -> Iterator[None]:
    try:
        yield
    except (OSError, TimeoutError) as error:
        raise HostError(
            "unavailable",
            f"systemd did not answer on the system bus ({type(error).__name__})",
            effect=effect,
            certain=effect == "none",
        ) from error


def _body(reply: Message) -> Tuple[Any, ...]:
    """What a reply brings; a D-Bus error becomes a HostError: it was refused, and nothing was done."""
    name = _error_name(reply)
    if not name:
        return tuple(reply.body)
    text = reply.body[0] if reply.body and isinstance(reply.body[0], str) else "refused"
    raise HostError(_CODES.get(name, "job_failed"), f"{text} ({name})")


def _error_name(reply: Message) -> str:
    is_error = reply.header.message_type is MessageType.error
    return str(reply.header.fields.get(HeaderFields.error_name, "unnamed")) if is_error else ""


def _plain(variant: Tuple[str, Any]) -> Any:
    """The value of a D-Bus variant; bytes as hex (InvocationID), a job (id, path) as its id."""
    signature, value = variant
    if signature == "ay":
        return bytes(value).hex()
    return value[0] if signature == "(uo)" else value

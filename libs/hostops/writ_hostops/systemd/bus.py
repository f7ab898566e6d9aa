"""systemd over D-Bus (org.freedesktop.systemd1(5)): the one importer of jeepney, whose errors end here.

A job's result comes by the signal JobRemoved, which systemd sends only to those who subscribed before; it counts only
if it comes from systemd's own connection, since anybody on the bus can send a signal of that name.
"""

from __future__ import annotations

import itertools
import select
import socket
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Tuple, Union

from jeepney import DBusAddress, HeaderFields, MatchRule, Message, MessageType, Parser, message_bus, new_method_call
from jeepney.bus import get_bus
from jeepney.io.blocking import prep_socket

from writ_hostops.errors import HostError
from writ_hostops.stop import Stop
from writ_hostops.systemd.names import can_be_named, is_own
from writ_hostops.systemd.unit import KIND_PROPERTIES, UNIT_PROPERTIES, JobEnd, Unit, unit_from

REPLY_TIMEOUT = 10.0
CANCEL_TIMEOUT = 5.0
_RECEIVE = 65536
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
    systemd = _ahead.pop() if _ahead else _opened()
    if systemd.hung_up():  # the bus was started anew meanwhile
        systemd.close()
        systemd = _opened()
    kept = False
    try:
        yield systemd
        kept = _keeping.on and not systemd.listens
    finally:
        if kept:
            _ahead.append(systemd)
        else:
            systemd.close()


def open_ahead() -> None:
    """Connect now, while nobody waits for it; from now on a connection is kept for the next question.

    Where that can't be, that question finds out why.
    """
    _keeping.on = True
    if not _ahead:
        with suppress(NoBus, HostError):
            _ahead.append(_opened())


class _Keeping:
    on = False


_keeping = _Keeping()
_ahead: List[SystemdOnBus] = []
"""Of this process, for whoever asks next."""


def _opened() -> SystemdOnBus:
    # Not jeepney's own DBusConnection: that waits without end for the bus to greet it.
    try:
        connection = prep_socket(get_bus("SYSTEM"), timeout=REPLY_TIMEOUT)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NoBus from error
    except (OSError, RuntimeError, ValueError) as error:  # jeepney: an address or a greeting that it does not like
        raise HostError("unavailable", f"the system bus does not let us in ({type(error).__name__})") from error
    try:
        connection.settimeout(REPLY_TIMEOUT)
        systemd = SystemdOnBus(connection)
        systemd.greet()
    except BaseException:
        connection.close()
        raise
    return systemd


class SystemdOnBus:
    """Systemd (see unit.py) on one connection, for one thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._parser = Parser()
        self._serials = itertools.count(1)
        self._rule: Optional[MatchRule] = None
        self._signals: Deque[Message] = deque()

    def close(self) -> None:
        """Leave the bus."""
        self._connection.close()

    @property
    def listens(self) -> bool:
        """Whether it gets signals, so that it is of no use for other questions."""
        return self._rule is not None

    def hung_up(self) -> bool:
        """Whether the bus is gone; what it has sent is left to be read."""
        try:
            told = select.select([self._connection], [], [], 0)[0]
            return bool(told) and not self._connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def greet(self) -> None:
        """What the bus wants to hear first."""
        _body(self._ask([message_bus.Hello()], effect="none")[0])

    def unit(self, name: str) -> Unit:
        """See Systemd. The properties come in one exchange: all questions are sent before the answers are read."""
        path = self._call(_MANAGER, "LoadUnit", "s", (name,))[0]
        properties = DBusAddress(path, _NAME, "org.freedesktop.DBus.Properties")
        kind = name.rpartition(".")[2].capitalize()
        wanted = [key for key, interface in KIND_PROPERTIES.items() if interface in ("", kind)]
        # All of Unit at once is faster than each that we want; the other interfaces have hundreds.
        questions = [new_method_call(properties, "GetAll", "s", (f"{_NAME}.Unit",))]
        questions += [new_method_call(properties, "Get", "ss", (f"{_NAME}.{kind}", key)) for key in wanted]
        general, *special = self._ask(questions, effect="none")
        values = {key: _plain(value) for key, value in _body(general)[0].items() if key in UNIT_PROPERTIES}
        for key, reply in zip(wanted, special):
            if _error_name(reply) not in _LACKING:
                values[key] = _plain(_body(reply)[0])
        unit = unit_from(values)
        if unit.load_state == "not-found":
            raise HostError("unit_not_found", f"systemd knows no unit {name}")
        return unit

    def names(self) -> List[str]:
        """See Systemd."""
        units = self._call(_MANAGER, "ListUnits", "", ())[0]
        files = self._call(_MANAGER, "ListUnitFiles", "", ())[0]
        found = [unit[0] for unit in units if unit[2] == "loaded"]
        found += [path.rpartition("/")[2] for path, state in files if is_own(state)]
        return [name for name in found if can_be_named(name)]

    def job(self, verb: str, name: str, stop: Stop, progress: Callable[[str], None]) -> JobEnd:
        """See Systemd. If the connection breaks once the job may be queued, that is HostError with the effect maybe."""
        owner = _body(self._ask([message_bus.GetNameOwner(_NAME)], effect="none")[0])[0]
        self._rule = MatchRule(type="signal", sender=owner, interface=_MANAGER.interface, member="JobRemoved")
        _body(self._ask([message_bus.AddMatch(self._rule)], effect="none")[0])
        # Else systemd forgets a unit that rests, with the very invocation that we ask about afterwards. It may refuse.
        subscribe, keep = new_method_call(_MANAGER, "Subscribe"), new_method_call(_MANAGER, "RefUnit", "s", (name,))
        _body(self._ask([subscribe, keep], effect="none")[0])
        stop.check()
        path = self._call(_MANAGER, _VERBS[verb], "ss", (name, "replace"), effect="maybe")[0]
        progress(f"systemd job {path.rpartition('/')[2]}: {verb} {name}")
        with _lost_connections("maybe"):
            return self._await(path, stop)

    def shown(self, verb: str, name: str) -> str:
        """See Systemd."""
        return f"{_MANAGER.interface}.{_VERBS[verb]}('{name}', 'replace')"

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
            message = self._receive(stop.remaining(), stop)
            if message is None:
                stop.check()
            else:
                self._keep(message)

    def _call(
        self, address: DBusAddress, method: str, signature: str, body: Tuple[Any, ...], effect: str = "none"
    ) -> Tuple[Any, ...]:
        return _body(self._ask([new_method_call(address, method, signature or None, body)], effect)[0])

    def _ask(self, questions: List[Message], effect: str) -> List[Message]:
        """The replies, in order. `effect` is what may have happened if the connection breaks."""
        with _lost_connections(effect):
            serials = [next(self._serials) for _ in questions]
            self._connection.sendall(b"".join(q.serialise(serial=n) for q, n in zip(questions, serials)))
            replies: Dict[int, Message] = {}
            deadline = time.monotonic() + REPLY_TIMEOUT
            while len(replies) < len(serials):
                message = self._receive(max(0.0, deadline - time.monotonic()))
                if message is None:
                    raise TimeoutError
                replies[message.header.fields.get(HeaderFields.reply_serial, 0)] = message
                replies.pop(0, None)
                self._keep(message)
        return [replies[serial] for serial in serials]

    def _receive(self, timeout: float, stop: Optional[Stop] = None) -> Optional[Message]:
        """The next message; None once the time is up or `stop` is cancelled."""
        awaited: List[Union[socket.socket, Stop]] = [self._connection] if stop is None else [self._connection, stop]
        while True:
            message: Optional[Message] = self._parser.get_next_message()
            if message is not None:
                return message
            if self._connection not in select.select(awaited, [], [], timeout)[0]:
                return None
            data = self._connection.recv(_RECEIVE)
            if not data:
                raise ConnectionResetError
            self._parser.add_data(data)

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

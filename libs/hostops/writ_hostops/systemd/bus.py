"""systemd over D-Bus (org.freedesktop.systemd1(5)), by jeepney, whose errors end here and in replies.py.

A job's result comes by the signal JobRemoved, which systemd sends only to earlier subscribers. It counts only if it
comes from systemd's own connection, since any program on the bus can send a signal of that name.
"""

from __future__ import annotations

import itertools
import select
import socket
import struct
import time
from collections import deque
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from jeepney import DBusAddress, HeaderFields, MatchRule, Message, MessageType, Parser, message_bus, new_method_call
from jeepney.bus import get_bus
from jeepney.io.blocking import prep_socket

from writ_hostops.errors import HostError
from writ_hostops.stop import CancelToken
from writ_hostops.systemd.names import can_be_named, escaped, is_own
from writ_hostops.systemd.replies import LACKING, NAME, body_of, error_name, lost_connections, plain
from writ_hostops.systemd.unit import UNIT_PROPERTIES, JobEnd, Unit, interface_of, properties_of, unit_from

REPLY_TIMEOUT = 10.0
CANCEL_TIMEOUT = 5.0
_RECEIVE = 65536
_MANAGER = DBusAddress("/org/freedesktop/systemd1", NAME, f"{NAME}.Manager")
_VERBS = {"start": "StartUnit", "stop": "StopUnit", "restart": "RestartUnit"}

_SERIAL = struct.Struct("<I")
_SERIAL_AT = 8  # of every message (D-Bus specification, message format); jeepney writes little-endian


class NoBus(Exception):
    """This host has no system bus."""


@contextmanager
def system_bus() -> Iterator[SystemdOnBus]:
    """Connect to the system bus (DBUS_SYSTEM_BUS_ADDRESS, or its usual place); NoBus without one."""
    systemd = _ahead.pop() if _ahead else _opened()
    if systemd.hung_up():  # the bus was restarted meanwhile
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
    """Connect in advance, while nobody waits. From now on one connection is kept for the next question.

    If connecting fails, the next question reports it.
    """
    _keeping.on = True
    if not _ahead:
        with suppress(NoBus, HostError):
            _ahead.append(_opened())


class _Keeping:
    on = False


_keeping = _Keeping()
_ahead: List[SystemdOnBus] = []
"""The connection of this process for the next question."""


def _opened() -> SystemdOnBus:
    # Not jeepney's own DBusConnection: that waits without end for the bus to greet it.
    try:
        connection = prep_socket(get_bus("SYSTEM"), timeout=REPLY_TIMEOUT)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NoBus from error
    except (OSError, RuntimeError, ValueError) as error:  # jeepney: an address or a greeting that it does not like
        raise HostError("unavailable", f"the system bus refuses the connection ({type(error).__name__})") from error
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
        self._connection.close()

    @property
    def listens(self) -> bool:
        """Return whether the connection receives signals, which makes it useless for other questions."""
        return self._rule is not None

    def hung_up(self) -> bool:
        """Return whether the bus closed the connection. Bytes sent before are still read."""
        try:
            readable = select.select([self._connection], [], [], 0)[0]
            return bool(readable) and not self._connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def greet(self) -> None:
        """Send the first message of every D-Bus connection, Hello."""
        body_of(self._request([message_bus.Hello()], effect="none")[0])

    def unit(self, name: str) -> Unit:
        """Return the unit. All property requests are sent in one exchange before any reply is read.

        systemd loads a unit whose path is requested, so no load call is needed (systemctl does the same).
        """
        general, *special = self._exchange(_about(name), effect="none")
        values = {key: plain(value) for key, value in body_of(general)[0].items() if key in UNIT_PROPERTIES}
        for key, reply in zip(properties_of(name), special):
            if error_name(reply) not in LACKING:
                values[key] = plain(body_of(reply)[0])
        unit = unit_from(values)
        if unit.load_state == "not-found":
            raise HostError("unit_not_found", f"systemd knows no unit {name}")
        return unit

    def names(self) -> List[str]:
        units = self._call(_MANAGER, "ListUnits", "", ())[0]
        files = self._call(_MANAGER, "ListUnitFiles", "", ())[0]
        loaded = [unit[0] for unit in units if unit[2] == "loaded"]
        loaded += [path.rpartition("/")[2] for path, state in files if is_own(state)]
        return [name for name in loaded if can_be_named(name)]

    def job(self, verb: str, name: str, stop: CancelToken, progress: Callable[[str], None]) -> JobEnd:
        """Run the job. If the connection breaks once the job may be queued, HostError has the effect maybe."""
        owner = body_of(self._request([message_bus.GetNameOwner(NAME)], effect="none")[0])[0]
        self._rule = MatchRule(type="signal", sender=owner, interface=_MANAGER.interface, member="JobRemoved")
        body_of(self._request([message_bus.AddMatch(self._rule)], effect="none")[0])
        # Else systemd forgets a unit that rests, with the very invocation that we ask about afterwards. It may refuse.
        subscribe, keep = new_method_call(_MANAGER, "Subscribe"), new_method_call(_MANAGER, "RefUnit", "s", (name,))
        body_of(self._request([subscribe, keep], effect="none")[0])
        stop.check()
        path = self._call(_MANAGER, _VERBS[verb], "ss", (name, "replace"), effect="maybe")[0]
        progress(f"systemd job {path.rpartition('/')[2]}: {verb} {name}")
        with lost_connections("maybe"):
            return self._await(path, stop)

    def shown(self, verb: str, name: str) -> str:
        return f"{_MANAGER.interface}.{_VERBS[verb]}('{name}', 'replace')"

    def _await(self, path: str, stop: CancelToken) -> JobEnd:
        try:
            return JobEnd(self._job_result(path, stop))
        except HostError as error:
            if error.code not in ("cancelled", "timeout"):
                raise
            reason = error.code
        try:
            self._call(DBusAddress(path, NAME, f"{NAME}.Job"), "Cancel", "", (), effect="maybe")
        except HostError as error:
            if error.code not in ("job_failed", "permission_denied"):
                raise
            # Either it has just ended, and the signal is on its way; or we may not, and the wait below is in vain.
        with CancelToken(CANCEL_TIMEOUT) as patience:
            try:
                return JobEnd(self._job_result(path, patience), reason)
            except HostError as error:
                if error.code != "timeout":
                    raise
                return JobEnd("", reason)

    def _job_result(self, path: str, stop: CancelToken) -> str:
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
        return body_of(self._request([new_method_call(address, method, signature or None, body)], effect)[0])

    def _request(self, questions: List[Message], effect: str) -> List[Message]:
        """Return the replies, in order. `effect`: the possible effect if the connection breaks."""
        return self._exchange([question.serialise(serial=1) for question in questions], effect)

    def _exchange(self, questions: Sequence[bytes], effect: str) -> List[Message]:
        """Return the replies to encoded questions, whatever their serials."""
        with lost_connections(effect):
            serials = [next(self._serials) for _ in questions]
            self._connection.sendall(b"".join(map(_numbered, questions, serials)))
            replies: Dict[int, Message] = {}
            deadline = time.monotonic() + REPLY_TIMEOUT
            while len(replies) < len(serials):
                message = self._receive(max(0.0, deadline - time.monotonic()))
                if message is None:
                    raise TimeoutError
                serial = message.header.fields.get(HeaderFields.reply_serial)
                if serial in serials and message.header.message_type is not MessageType.signal:
                    replies[serial] = message
                self._keep(message)
        return [replies[serial] for serial in serials]

    def _receive(self, timeout: float, stop: Optional[CancelToken] = None) -> Optional[Message]:
        """Return the next message; None once time is up or `stop` is cancelled."""
        awaited: List[Union[socket.socket, CancelToken]] = (
            [self._connection] if stop is None else [self._connection, stop]
        )
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
        """Keep a signal of an ended job; drop any other message."""
        if self._rule is not None and self._rule.matches(message):
            self._signals.append(message)


@lru_cache(maxsize=256)
def _about(name: str) -> Sequence[bytes]:
    """Return the encoded questions about a unit. They are always the same, and encoding takes a tenth of a
    millisecond.
    """
    address = DBusAddress(f"{_MANAGER.object_path}/unit/{escaped(name)}", NAME, "org.freedesktop.DBus.Properties")
    # All of Unit at once is faster than single properties; the other interfaces have hundreds.
    questions = [new_method_call(address, "GetAll", "s", (f"{NAME}.Unit",))]
    questions += [
        new_method_call(address, "Get", "ss", (f"{NAME}.{interface_of(name)}", key)) for key in properties_of(name)
    ]
    return [question.serialise(serial=1) for question in questions]


def _numbered(question: bytes, serial: int) -> bytes:
    return question[:_SERIAL_AT] + _SERIAL.pack(serial) + question[_SERIAL_AT + _SERIAL.size :]

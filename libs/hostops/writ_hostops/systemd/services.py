"""service_status, service_start, service_stop and service_restart of a unit by its own name.

An alias is refused: policy judged the requested name, and an alias would evade a rule about the unit.
"""

from __future__ import annotations

import select
import time
from contextlib import ExitStack, contextmanager
from typing import Iterator, List

from writ_hostops import privileges
from writ_hostops.errors import HostError
from writ_hostops.fields import Fields
from writ_hostops.processes import boot_id
from writ_hostops.protocol import HostReply, OperationCall, verdict, with_lack
from writ_hostops.stop import CancelToken
from writ_hostops.systemd import judgement
from writ_hostops.systemd.bus import NoBus, system_bus
from writ_hostops.systemd.command import SystemdByCommand
from writ_hostops.systemd.names import full_name
from writ_hostops.systemd.unit import JobEnd, Systemd, Unit, judged, own

ANY_UNIT = "init.scope"
_POLL = 0.05


def status(call: OperationCall) -> HostReply:
    unit = _read_unit(call)
    return HostReply(output=judgement.output(unit, boot_id()), state=judgement.state(unit, boot_id()))


def start(call: OperationCall) -> HostReply:
    return _change("start", call)


def stop(call: OperationCall) -> HostReply:
    return _change("stop", call)


def restart(call: OperationCall) -> HostReply:
    return _change("restart", call)


def baseline(call: OperationCall) -> HostReply:
    """Return the unit's state, see `judgement.baseline`."""
    observed = judgement.baseline(_read_unit(call), boot_id())
    return HostReply(output=observed, state=observed)


def preview(call: OperationCall) -> HostReply:
    """Return the job that systemd would get now; `job_failed` if systemd would refuse."""
    verb, name = verb_of(call.operation), _name(call)
    with _systemd() as systemd:
        unit = own(name, systemd.unit(name))
        would = judgement.would(verb, unit, boot_id(), systemd.shown(verb, unit.id))
    return with_lack(would, privileges.services(call.stop))


def probe(call: OperationCall) -> HostReply:
    """Report success by the changes since the baseline."""
    now = judgement.state(_read_unit(call), boot_id())
    word, reason = judgement.judge(verb_of(call.operation), dict(call.baseline), now)
    return verdict(word, reason, now)


def names() -> List[str]:
    """Return all nameable units of supported kinds, by their own names."""
    with _systemd() as systemd:
        return systemd.names()


def require_systemd() -> None:
    """Raise HostError `unavailable` if systemd does not reply on this host."""
    with _systemd() as systemd:
        try:
            systemd.unit(ANY_UNIT)
        except HostError as error:
            if error.code != "unit_not_found":
                raise


def verb_of(operation: str) -> str:
    """Return start, stop, restart or status."""
    return operation.rpartition("_")[2]


def name_from(fields: Fields) -> str:
    """Take `service_name`, in full, and refuse further fields. HostError `invalid_parameter`."""
    name = full_name(fields.text("service_name"))
    fields.end()
    return name


def _change(verb: str, call: OperationCall) -> HostReply:
    name = _name(call)
    with _systemd() as systemd:
        before = judged(own(name, systemd.unit(name)), call.baseline)
        end = _job(systemd, verb, before.id, call)
        try:
            after = _settled(systemd, verb, before, call.stop)
        except HostError as error:
            raise HostError(error.code, error.message, effect="maybe") from error
    return judgement.ended(verb, before, end, after, boot_id())


def _job(systemd: Systemd, verb: str, name: str, call: OperationCall) -> JobEnd:
    try:
        return systemd.job(verb, name, call.stop, call.progress)
    except HostError as error:
        if error.code != "permission_denied":
            raise
        message = f"{error.message}: {privileges.REMEDY}"
        raise HostError(error.code, message, effect=error.effect, certain=error.certain) from error


def _settled(systemd: Systemd, verb: str, before: Unit, stop: CancelToken) -> Unit:
    """Return the unit after its job. If needed it is watched for a moment, until it dies or the operation should
    end.
    """
    deadline = time.monotonic() + min(judgement.SETTLING, stop.remaining())
    while True:
        unit, left = systemd.unit(before.id), deadline - time.monotonic()
        if not judgement.is_watched(verb, before, unit) or left <= 0 or stop.cancelled:
            return unit
        select.select([stop.fileno()], [], [], min(_POLL, left))


def _read_unit(call: OperationCall) -> Unit:
    name = _name(call)
    with _systemd() as systemd:
        return own(name, systemd.unit(name))


def _name(call: OperationCall) -> str:
    return name_from(Fields(dict(call.parameters), "parameters"))


@contextmanager
def _systemd() -> Iterator[Systemd]:
    with ExitStack() as stack:
        systemd: Systemd
        try:
            systemd = stack.enter_context(system_bus())
        except NoBus:
            systemd = SystemdByCommand()
        yield systemd

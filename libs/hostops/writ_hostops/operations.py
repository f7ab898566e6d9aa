"""The operations of hostops and the one path through them: check, mark, carry out, mark, answer."""

from __future__ import annotations

import dataclasses
import os
import sys
import traceback
from typing import Any, Callable, Dict, Mapping, Optional

from writ_hostops import leftovers, processes
from writ_hostops.backups import create as backup_create
from writ_hostops.backups import delete as backup_delete
from writ_hostops.backups import listing as backup_listing
from writ_hostops.backups import restore as backup_restore
from writ_hostops.encoded_text import decoded
from writ_hostops.errors import HostError
from writ_hostops.files import copy, delete, read, write
from writ_hostops.listings import LISTINGS
from writ_hostops.markers import Markers
from writ_hostops.network import reach, scan
from writ_hostops.network import status as network
from writ_hostops.packages import changes as packages
from writ_hostops.packages import listing as package_listing
from writ_hostops.protocol import (
    HostReply,
    HostRequest,
    OperationCall,
    at_once,
    failure,
    id_of,
    parse_request,
    result,
    verdict,
)
from writ_hostops.snapshots import operations as snapshots
from writ_hostops.stop import CancelToken
from writ_hostops.survey import survey
from writ_hostops.systemd import services

Handler = Callable[[OperationCall], HostReply]

_SERVICE: Dict[str, Handler] = {
    "baseline": services.baseline,
    "probe": services.probe,
    "preview": services.preview,
}
_PACKAGE: Dict[str, Handler] = {
    "run": packages.run,
    "baseline": packages.baseline,
    "probe": packages.probe,
    "preview": packages.preview,
}

HANDLERS: Dict[str, Dict[str, Handler]] = {
    "service_status": {"run": services.status, "baseline": services.baseline},
    "service_start": {"run": services.start, **_SERVICE},
    "service_stop": {"run": services.stop, **_SERVICE},
    "service_restart": {"run": services.restart, **_SERVICE},
    "file_read": {"run": read.run},
    "file_write": {"run": write.run, "baseline": write.baseline, "probe": write.probe, "preview": write.preview},
    "file_copy": {"run": copy.run, "baseline": copy.baseline, "probe": copy.probe, "preview": copy.preview},
    "file_delete": {"run": delete.run, "baseline": delete.baseline, "probe": delete.probe, "preview": delete.preview},
    "network_status": {"run": network.run},
    "network_test": {"run": reach.run},
    "network_scan": {"run": scan.run},
    "backup_create": {"run": backup_create.run, "probe": backup_create.probe, "preview": backup_create.preview},
    "backup_list": {"run": backup_listing.run},
    "backup_restore": {"run": backup_restore.run, "probe": backup_restore.probe, "preview": backup_restore.preview},
    "backup_delete": {"run": backup_delete.run, "probe": backup_delete.probe, "preview": backup_delete.preview},
    "snapshot_create": {"run": snapshots.create, "probe": snapshots.probe, "preview": snapshots.preview},
    "snapshot_list": {"run": snapshots.listing},
    "snapshot_restore": {
        "run": snapshots.restore,
        "baseline": snapshots.baseline,
        "probe": snapshots.probe_restore,
        "preview": snapshots.preview,
    },
    "snapshot_delete": {"run": snapshots.delete, "probe": snapshots.probe, "preview": snapshots.preview},
    "package_list": {"run": package_listing.run},
    "package_update": _PACKAGE,
    "package_install": _PACKAGE,
    "package_remove": _PACKAGE,
}
"""Handlers by operation and action. An operation without a preview is read-only and needs no marker."""

_OF_HOST: Dict[str, Handler] = {
    "survey": survey,
    "leftovers": leftovers.leftovers,
    "clean": leftovers.clean,
}
"""By action: what is about the host, and of no operation."""

_EXPECT: Dict[str, Callable[[Dict[str, Any]], Dict[str, Any]]] = {"file_write": write.expect}
"""The part of the parameters that a marker keeps, for probes that need more than the baseline."""


PREPARING = frozenset({"file_write"})
"""Operations whose mark is synced while they prepare: they call `OperationCall.before_effect`. A write digests the
old file, and writes and syncs the new content beside it.
"""

ENCODED = {"file_write": frozenset({"content"})}
"""Parameters that their operations take as an EncodedText, too."""

REUSABLE = frozenset({"file_write", "file_copy", "file_delete"})
"""Changes after which their process may serve another request. They start no program and keep nothing in memory."""


def silent(message: str) -> None: ...


def run(
    request: object, progress: Callable[[str], None] = silent, stop: Optional[CancelToken] = None
) -> Dict[str, Any]:
    """Carry out one request (see protocol.py) and give its result line. Never raises; every mistake is a result.

    `stop` cancels it from another thread; without one, only its timeout ends it early.
    """
    return decoded(run_encoded(request, progress, stop))


def run_encoded(
    request: object, progress: Callable[[str], None] = silent, stop: Optional[CancelToken] = None
) -> Dict[str, Any]:
    """Do what `run` does. Long texts of the output may each be an EncodedText."""
    try:
        parsed = parse_request(request)
    except HostError as error:
        return result(id_of(request), failure(error))
    if stop is not None:
        return _finish(parsed, progress, stop)
    with CancelToken(parsed.timeout) as own:
        return _finish(parsed, progress, own)


def _finish(request: HostRequest, progress: Callable[[str], None], stop: CancelToken) -> Dict[str, Any]:
    try:
        handler = _handler(request)
        stop.check()
        if request.action == "run":
            stop.operation_id = request.id
        if request.action == "probe" and processes.marked(request.id):
            return result(request.id, verdict("unknown", "a process of it still runs on this host", {}))
        if _changes(request) and request.target.state_dir:
            return _run_marked(request, handler, progress, stop)
        if request.action == "probe" and request.target.state_dir:
            return result(request.id, _probe_marked(request, handler, progress, stop))
        return result(request.id, _run_handler(request, handler, progress, stop))
    except HostError as error:
        return result(request.id, failure(error))


def _handler(request: HostRequest) -> Handler:
    if request.action == "listing":
        if request.operation not in LISTINGS:
            raise HostError("unsupported", "hostops has no such listing")
        return LISTINGS[request.operation]
    if request.action in _OF_HOST:
        return _OF_HOST[request.action]
    actions = HANDLERS.get(request.operation)
    if actions is None:
        raise HostError("unsupported", "hostops has no such operation")
    if request.action not in actions:
        raise HostError("unsupported", f"{request.operation} has no {request.action}")
    return actions[request.action]


def changes(action: str, operation: str) -> bool:
    """Return whether the action may change something. An operation without a preview only reads."""
    return action == "run" and "preview" in HANDLERS.get(operation, {})


def _changes(request: HostRequest) -> bool:
    return changes(request.action, request.operation)


def _run_handler(
    request: HostRequest,
    handler: Handler,
    progress: Callable[[str], None],
    stop: CancelToken,
    expected: Optional[Mapping[str, Any]] = None,
    before_effect: Callable[[], None] = at_once,
) -> HostReply:
    call = OperationCall(
        operation=request.operation,
        parameters=request.parameters,
        target=request.target,
        stop=stop,
        progress=progress,
        baseline=request.baseline,
        expected=expected or {},
        id=request.id,
        diff=request.diff,
        before_effect=before_effect,
    )
    try:
        return handler(call)
    except HostError as error:
        return failure(error)
    except Exception as error:  # noqa: BLE001 the one place where a mistake of ours becomes an answer
        _report(error)
        effect = "maybe" if _changes(request) else "none"
        return failure(HostError("internal", f"hostops failed ({type(error).__name__})", effect=effect))


def _run_marked(
    request: HostRequest, handler: Handler, progress: Callable[[str], None], stop: CancelToken
) -> Dict[str, Any]:
    markers = Markers(request.target.state_dir)
    expect = _EXPECT.get(request.operation)
    expected = expect(dict(request.parameters)) if expect else {}
    try:
        mark = markers.write_begun(request.id, request.attempt, request.operation, expected)
    except HostError as error:
        if error.code != "already_seen":
            raise
        return _repeated(request, markers.read(request.id, request.attempt)[1], error)
    if request.operation in PREPARING:
        mark.start()
    else:
        mark.wait()
    line = result(request.id, _run_handler(request, handler, progress, stop, expected, mark.wait))
    mark.wait()
    try:
        kept = {name: value for name, value in line["output"].items() if name in request.shown}
        markers.end(request.id, request.attempt, {**line, "output": kept})
    except HostError as error:
        progress(f"the result could not be stored on this host: {error.message}")
    return line


def _repeated(request: HostRequest, earlier: Optional[Dict[str, Any]], refusal: HostError) -> Dict[str, Any]:
    """Return the refusal of a known id: with its whole earlier result, or `unknown` while there is none."""
    if earlier and "outcome" in earlier:
        return {**earlier, "code": refusal.code, "earlier_code": earlier["code"]}
    open_end = HostError(refusal.code, f"{refusal.message}, and its result is not known", effect="maybe", certain=False)
    return result(request.id, failure(open_end))


def _probe_marked(
    request: HostRequest, handler: Handler, progress: Callable[[str], None], stop: CancelToken
) -> HostReply:
    """Consult this host's own record before the probe."""
    markers = Markers(request.target.state_dir)
    begun, ended = markers.read(request.id, request.attempt)
    if begun and not ended and _goes_on(begun.get("process", {})):
        return verdict("unknown", "it still runs on this host", {})
    if ended and ended.get("outcome") == "succeeded":
        return _by_record("succeeded", ended)
    earlier_may_have_run = False
    for attempt in range(request.attempt - 1, 0, -1):
        stop.check()
        its_begun, its_end = markers.read(request.id, attempt)
        if its_end and its_end.get("outcome") == "succeeded":
            return _by_record("succeeded", its_end)
        earlier_may_have_run = earlier_may_have_run or _may_have_run(its_begun, its_end)
    ran_nothing = ended is not None and not _may_have_run(begun, ended)
    if ran_nothing and not earlier_may_have_run:
        return _by_record("not_done", ended or {})
    expected = (begun or {}).get("expected", {})
    if not ran_nothing:
        probed = _run_handler(request, handler, progress, stop, expected)
        if not earlier_may_have_run or probed.output.get("verdict") == "succeeded":
            return probed
    # The baseline of this attempt may show the effect of an earlier one. What changed since then may be another's.
    return _run_handler(dataclasses.replace(request, baseline={}), handler, progress, stop, expected)


def _by_record(word: str, ended: Mapping[str, Any]) -> HostReply:
    return verdict(word, "by this host's record of the operation", dict(ended.get("state", {})))


def _may_have_run(begun: Optional[Mapping[str, Any]], ended: Optional[Mapping[str, Any]]) -> bool:
    """Return whether an attempt with this record may have had an effect."""
    if ended is not None:
        return ended.get("effect") != "none" or not ended.get("certain")
    return begun is not None


def _goes_on(who: Mapping[str, Any]) -> bool:
    """Return whether the process that began it lives. This process itself does not count: it only reads now."""
    return who.get("pid") != os.getpid() and processes.alive(who)


def _report(error: Exception) -> None:
    """Write the place of the error to stderr, without its text, which may quote a parameter."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    print(f"writ_hostops: {type(error).__name__} at {place.filename}:{place.lineno}", file=sys.stderr)  # noqa: T201

"""The operations that hostops has, and the one way through them: check, mark, carry out, mark, answer."""

from __future__ import annotations

import sys
import traceback
from typing import Any, Callable, Dict, Mapping, Optional

from writ_hostops.errors import HostError
from writ_hostops.files import copy, delete, read, write
from writ_hostops.markers import Markers
from writ_hostops.network import status as network
from writ_hostops.protocol import Answer, Call, Request, failure, id_of, parse_request, result, verdict
from writ_hostops.stop import Stop
from writ_hostops.systemd import services

Handler = Callable[[Call], Answer]

_SERVICE: Dict[str, Handler] = {
    "baseline": services.baseline,
    "probe": services.probe,
    "preview": services.preview,
}

HANDLERS: Dict[str, Dict[str, Handler]] = {
    "service_status": {"run": services.status},
    "service_start": {"run": services.start, **_SERVICE},
    "service_stop": {"run": services.stop, **_SERVICE},
    "service_restart": {"run": services.restart, **_SERVICE},
    "file_read": {"run": read.run},
    "file_write": {"run": write.run, "baseline": write.baseline, "probe": write.probe, "preview": write.preview},
    "file_copy": {"run": copy.run, "baseline": copy.baseline, "probe": copy.probe, "preview": copy.preview},
    "file_delete": {"run": delete.run, "baseline": delete.baseline, "probe": delete.probe, "preview": delete.preview},
    "network_status": {"run": network.run},
}
"""By operation and action. What has no baseline is read-only, and needs no marker."""

_EXPECT: Dict[str, Callable[[Dict[str, Any]], Dict[str, Any]]] = {"file_write": write.expect}
"""What a marker keeps of the parameters, where a probe needs more than the baseline."""


def silent(message: str) -> None:
    """Progress that nobody wants to hear."""


def run(request: object, progress: Callable[[str], None] = silent, stop: Optional[Stop] = None) -> Dict[str, Any]:
    """Carry out one request (see protocol.py) and give its result line. Never raises; every mistake is a result.

    `stop` cancels it from another thread; without one, only its timeout ends it early.
    """
    try:
        parsed = parse_request(request)
    except HostError as error:
        return result(id_of(request), failure(error))
    if stop is not None:
        return _finish(parsed, progress, stop)
    with Stop(parsed.timeout) as own:
        return _finish(parsed, progress, own)


def _finish(request: Request, progress: Callable[[str], None], stop: Stop) -> Dict[str, Any]:
    try:
        handler = _handler(request)
        stop.check()
        if request.action == "run" and "baseline" in HANDLERS[request.operation] and request.target.state_dir:
            return _run_marked(request, handler, progress, stop)
        if request.action == "probe" and request.target.state_dir:
            return result(request.id, _probe_marked(request, handler, progress, stop))
        return result(request.id, _answer(request, handler, progress, stop))
    except HostError as error:
        return result(request.id, failure(error))


def _handler(request: Request) -> Handler:
    actions = HANDLERS.get(request.operation)
    if actions is None:
        raise HostError("unsupported", "hostops has no such operation")
    if request.action not in actions:
        raise HostError("unsupported", f"{request.operation} has no {request.action}")
    return actions[request.action]


def _answer(
    request: Request,
    handler: Handler,
    progress: Callable[[str], None],
    stop: Stop,
    expected: Optional[Mapping[str, Any]] = None,
) -> Answer:
    call = Call(
        operation=request.operation,
        parameters=request.parameters,
        target=request.target,
        stop=stop,
        progress=progress,
        baseline=request.baseline,
        expected=expected or {},
    )
    try:
        return handler(call)
    except HostError as error:
        return failure(error)
    except Exception as error:  # noqa: BLE001 the one place where a mistake of ours becomes an answer
        _report(error)
        effect = "maybe" if request.action == "run" and "baseline" in HANDLERS[request.operation] else "none"
        return failure(HostError("internal", f"hostops failed ({type(error).__name__})", effect=effect))


def _run_marked(request: Request, handler: Handler, progress: Callable[[str], None], stop: Stop) -> Dict[str, Any]:
    markers = Markers(request.target.state_dir)
    expect = _EXPECT.get(request.operation)
    expected = expect(dict(request.parameters)) if expect else {}
    try:
        markers.begin(request.id, request.attempt, request.operation, expected)
    except HostError as error:
        if error.code != "already_seen":
            raise
        return _seen(request, markers.read(request.id, request.attempt)[1], error)
    line = result(request.id, _answer(request, handler, progress, stop))
    try:
        markers.end(request.id, request.attempt, line)
    except HostError as error:
        progress(f"the result could not be kept on this host: {error.message}")
    return line


def _seen(request: Request, earlier: Optional[Dict[str, Any]], refusal: HostError) -> Dict[str, Any]:
    """The refusal of an id that was seen: with all of its earlier result, or unknown while there is none."""
    if earlier and "outcome" in earlier:
        return {**earlier, "code": refusal.code, "earlier_code": earlier["code"]}
    open_end = HostError(refusal.code, f"{refusal.message}, and its result is not known", effect="maybe", certain=False)
    return result(request.id, failure(open_end))


def _probe_marked(request: Request, handler: Handler, progress: Callable[[str], None], stop: Stop) -> Answer:
    """Let this host's own record speak first."""
    begun, ended = Markers(request.target.state_dir).read(request.id, request.attempt)
    if ended and ended.get("outcome") == "succeeded":
        return verdict("succeeded", "this host's record of the operation says so", dict(ended.get("state", {})))
    if ended and ended.get("effect") == "none" and ended.get("certain"):
        return verdict("not_done", "this host's record of the operation says so", dict(ended.get("state", {})))
    return _answer(request, handler, progress, stop, expected=(begun or {}).get("expected", {}))


def _report(error: Exception) -> None:
    """Where it happened, on stderr; not what the error says, which may quote a parameter."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    print(f"writ_hostops: {type(error).__name__} at {place.filename}:{place.lineno}", file=sys.stderr)  # noqa: T201

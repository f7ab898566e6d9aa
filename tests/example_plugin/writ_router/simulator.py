"""A router for tests: a small HTTP server with state. `python -m writ_router.simulator TOKEN` prints its address."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

LAPTOP, CAMERA = "02:00:00:00:00:01", "02:00:00:00:00:02"
INSTALL_SECONDS = 1.0


class Refused(Exception):
    """A request refused by the router."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RouterState:
    """The state of one router. `seconds`: the duration of an installation."""

    def __init__(self, token: str, seconds: float = INSTALL_SECONDS) -> None:
        self.token, self.seconds = token, seconds
        self.version = "1.0"
        self.devices = {LAPTOP: False, CAMERA: False}
        self.starts = {"dnsmasq": 1}
        self.log: list[str] = []
        self.installing: dict[str, Any] | None = None
        self.drop_replies = 0
        """So many replies to changes are not sent: the connection is closed."""
        self._lock = threading.Lock()

    def handle(self, method: str, path: list[str], body: Any) -> Any:
        """Return the reply's content. Raises Refused."""
        with self._lock:
            self._finish()
            match method, path:
                case "GET", ["status"]:
                    return self._status()
                case "GET", ["devices"]:
                    return self.devices
                case "PUT", ["devices", mac]:
                    self.devices[self._known(mac, self.devices)] = bool(body["blocked"])
                    return {}
                case "GET", ["services", name]:
                    return {"running": True, "starts": self.starts[self._known(name, self.starts)]}
                case "POST", ["services", name, "restart"]:
                    self.starts[self._known(name, self.starts)] += 1
                    return {}
                case "POST", ["log"]:
                    self.log.append(body["line"])
                    return {}
                case "POST", ["firmware"]:
                    return self._install(body)
                case "DELETE", ["firmware", number]:
                    return self._stop(number)
                case _:
                    raise Refused(404, f"no {method} {'/'.join(path)}")

    def _known(self, name: str, among: dict[str, Any]) -> str:
        if name not in among:
            raise Refused(404, f"no {name} here")
        return name

    def _status(self) -> dict[str, Any]:
        work = self.installing
        done = (time.monotonic() - work["began"]) / self.seconds if work else 0.0
        return {"version": self.version, "installing": work["id"] if work else None, "percent": int(100 * done)}

    def _install(self, body: Any) -> Any:
        if body["key"] != "correct horse":
            raise Refused(422, "the key does not unlock this firmware")
        if self.installing:
            raise Refused(409, "an installation is under way")
        self.installing = {**body, "began": time.monotonic()}
        return {}

    def _stop(self, number: str) -> Any:
        mine = self.installing is not None and self.installing["id"] == number
        self.installing = None if mine else self.installing
        return {"stopped": mine}

    def _finish(self) -> None:
        if self.installing and time.monotonic() - self.installing["began"] >= self.seconds:
            self.version, self.installing = self.installing["version"], None


def _handler(state: RouterState) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            try:
                if self.headers.get("Authorization") != f"Bearer {state.token}":
                    raise Refused(401, "bad token")
                path = [unquote(part) for part in self.path.strip("/").split("/")]
                status, content = 200, state.handle(self.command, path, body)
            except Refused as refused:
                status, content = refused.status, {"error": str(refused)}
            if state.drop_replies and self.command != "GET":
                state.drop_replies -= 1
                self.close_connection = True
                return
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            with suppress(ConnectionError):  # a client may hang up before its reply
                self.end_headers()
                self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - http.server names them

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

    return Handler


@contextmanager
def router(token: str, seconds: float = INSTALL_SECONDS) -> Iterator[tuple[str, RouterState]]:
    """Yield the address of a running router, and its state."""
    state = RouterState(token, seconds)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(state)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", state
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with router(sys.argv[1]) as (address, _):
        print(address, flush=True)
        sys.stdin.read()

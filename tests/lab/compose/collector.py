"""A collector of spans in a container of the lab: it writes each request into a file."""

import http.server
import itertools
from pathlib import Path

TAKEN = Path("/spans")


class Taking(http.server.BaseHTTPRequestHandler):
    """OTLP over HTTP, in the part that exporters use."""

    numbers = itertools.count()

    def do_POST(self) -> None:
        """Write one request with spans into a file, which gets its name when it is complete."""
        name = f"{next(self.numbers):06}"
        draft = TAKEN / f".{name}"
        draft.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        draft.rename(TAKEN / name)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    http.server.HTTPServer(("", 4318), Taking).serve_forever()

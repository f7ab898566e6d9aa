"""`python -m writ_hostops`: requests as JSON lines on standard input, answers as JSON lines on standard output."""

from __future__ import annotations

import os

from writ_hostops.serve import live_alone, serve, take_over_stdout


def main() -> None:
    """Serve until the input ends or SIGTERM comes."""
    live_alone(dict(os.environ))
    serve(0, take_over_stdout())


if __name__ == "__main__":
    main()

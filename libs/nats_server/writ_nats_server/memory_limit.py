"""How a nats-server that runs as our child uses memory: up to a share of what the machine, or its cgroup, may use."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

MEMORY = "GOMEMLIMIT"
"""The variable of Go's runtime for the memory from which it frees what is unused more often."""
GROWTH = "GOGC"
"""The variable for the growth in percent after which it collects garbage."""
DEFAULT_GROWTH = "200"
"""With Go's default of 100, each message of 1 MB causes a collection (ADR 123)."""
MEMORY_SHARE, LEAST_MEMORY, MOST_MEMORY = 4, 256 << 20, 3 << 30
"""The server gets a quarter of the machine's memory, or of its cgroup's limit, within these bytes."""
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def memory_limit(available: int) -> int:
    """Return the memory limit of a server (bytes) where so much memory may be used.

    It needs 0.1 KB for each event of the journal, up to three times that between two collections, and 0.1 GB for blocks
    that were just written. The limit is for reads of the whole journal, whose blocks stay until their collection (ADR
    102).
    """
    return max(LEAST_MEMORY, min(MOST_MEMORY, available // MEMORY_SHARE))


def with_memory_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a server: with a memory limit and a growth, unless it names them."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = memory_limit(min([machine, *cgroup_limits()]))
    return {MEMORY: str(limit), GROWTH: DEFAULT_GROWTH, **environ}


def cgroup_limits(own: Path = OWN_CGROUPS, mounted: Path = CGROUPS) -> list[int]:
    """Return the memory limits (bytes) of this process's cgroup and of those above it: each holds, see cgroups(7).

    Empty where there is none, or none can be read.
    """
    return [limit for path in _limit_files(own, mounted) if (limit := _number(path)) is not None]


def _limit_files(own: Path, mounted: Path) -> Iterator[Path]:
    """Yield the files of limits. A line of `own` is `0::PATH` for version 2, `N:CONTROLLERS:PATH` for version 1."""
    for line in _text(own).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (number, controllers) == ("0", ""):
            root, name = mounted, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = mounted / "memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container PATH may be the host's, which is not there: the container's own is mounted at the root.
        inner = PurePosixPath(path.lstrip("/"))
        for part in (inner, *inner.parents) if ".." not in inner.parts else (PurePosixPath(),):
            yield root / part / name


def _number(path: Path) -> int | None:
    """Return the number in a file; None for `max`, another text, or no file."""
    text = _text(path).strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # no cgroups, another layout, or hidden from this process: then the machine's memory counts
        return ""

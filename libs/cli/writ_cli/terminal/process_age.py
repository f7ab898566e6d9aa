"""The age of this process: a person has waited for a command since its start."""

import os
import time
from pathlib import Path


def process_age() -> float:
    """Return the seconds since this process started (Linux: proc(5)); elsewhere 0."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")

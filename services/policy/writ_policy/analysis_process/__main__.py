"""`python -m writ_policy.analysis_process`: read jobs from standard input, write results to standard output."""

import os
import resource
import sys

import msgspec

from writ_policy.analysis_process.frames import read_frame, write_frame
from writ_policy.analysis_process.job_handlers import MOST_MEMORY, NICE, perform
from writ_policy.analysis_process.jobs import Job
from writ_runtime.plugins.entry_points import load_catalogue


def main() -> None:
    """Run the process with a lower priority than the service, whose decisions come first, and with bounded memory."""
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    catalogue = load_catalogue(evaluators=True)
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        write_frame(sys.stdout.buffer, msgspec.json.encode(perform(msgspec.json.decode(frame, type=Job), catalogue)))


if __name__ == "__main__":
    main()

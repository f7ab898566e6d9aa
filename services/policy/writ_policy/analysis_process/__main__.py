"""`python -m writ_policy.analysis_process NICE`: read jobs from standard input, write results to standard output."""

import os
import resource
import signal
import sys

import msgspec

from writ_policy.analysis_process.frames import read_frame, write_frame
from writ_policy.analysis_process.job_handlers import MOST_MEMORY, perform
from writ_policy.analysis_process.jobs import CPU_SECONDS, Job
from writ_runtime.plugins.entry_points import load_catalogue


def main() -> None:
    """Run the process with this much lower a priority than the service's, and with bounded memory."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a service that was killed reads no result: end without a traceback
    os.nice(int(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a plugin prints is no result
    catalogue = load_catalogue(evaluators=True)
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # for this job, whatever the one before took
        write_frame(results, msgspec.json.encode(perform(msgspec.json.decode(frame, type=Job), catalogue)))


if __name__ == "__main__":
    main()

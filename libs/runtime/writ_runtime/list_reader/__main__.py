"""`python -m writ_runtime.list_reader SECTION FILE`: write the list to standard output, in MessagePack.

Mistakes in the file are written in its place, with the exit status `REFUSED`.
"""

import gc
import os
import sys
from pathlib import Path

from msgspec import msgpack

from writ_documents.document import FileErrors
from writ_runtime.list_reader.lists import NICE, REFUSED, SORTS, TARGETS


def main(section: str, path: str) -> int:
    """Return the exit status."""
    if section == TARGETS.section:
        os.nice(NICE)
    gc.disable()  # until its end it needs most of its objects
    status, answer = 0, b""
    try:
        answer = msgpack.encode(getattr(SORTS[section].read(Path(path)), section))
    except FileErrors as errors:
        status, answer = REFUSED, msgpack.encode(errors.found)
    sys.stdout.buffer.write(answer)
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

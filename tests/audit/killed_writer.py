"""Writes batches into an index without end, to be killed at any moment: `python killed_writer.py FILE`."""

import sys
from pathlib import Path

from writ_audit.index import AuditIndex, IndexPosition
from writ_audit.projection import EventRow, RecordChange

BATCH = 200


def main(path: Path) -> None:
    """Write batch after batch, and print a line after each."""
    index = AuditIndex(path)
    position = index.place.position
    while True:
        sequences = range(position + 1, position + 1 + BATCH)
        rows = [EventRow(sequence=number, subject="writ.journal.x", kind="finished", at=0.0) for number in sequences]
        position += BATCH
        index.apply(
            [RecordChange(event=row) for row in rows], IndexPosition(position, "first", f"digest of {position}")
        )
        print(position, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

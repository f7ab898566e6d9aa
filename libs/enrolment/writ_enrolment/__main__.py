"""`writ-enrol`, and `python -m writ_enrolment`: for an agent's host, which need not have the command `writ`."""

import sys

from writ_enrolment.command import run


def main() -> None:
    """Enrol this host. Exits 2 for a mistake of the caller, else 1 where it did not work."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

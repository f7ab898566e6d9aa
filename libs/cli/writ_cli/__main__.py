"""`writ`, and `python -m writ_cli`: half a second of reading, in which a Ctrl-C is one, too."""

import sys


def main() -> None:
    """The command. Exits with its status."""
    try:
        from writ_cli.main import main as command  # noqa: PLC0415
    except KeyboardInterrupt:
        sys.exit(130)  # as it does later
    command()


if __name__ == "__main__":
    main()

"""`writ`, and `python -m writ_cli`. Imports take half a second, so a Ctrl-C during them is handled too."""

import gc
import sys

from writ_runtime import bytecode


def main() -> None:
    """Run the command, and exit with its status."""
    bytecode.keep_only_with_room()
    try:
        from writ_cli.rare_collections import rare_collections  # noqa: PLC0415

        with rare_collections():
            from writ_cli.main import main as command  # noqa: PLC0415
    except KeyboardInterrupt:
        sys.exit(130)  # as it does later
    try:
        command()
    finally:
        gc.freeze()  # at exit Python would collect all objects: a tenth of a short command's time


if __name__ == "__main__":
    main()

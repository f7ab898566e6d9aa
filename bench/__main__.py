"""`python -m bench [NAME…]`: run the measurements (all of them, or those named) and print their tables."""

import importlib
import sys

import uvloop

NAMES = ("end_to_end", "audit", "policy")


def main() -> None:
    """One after the other; the machine should have nothing else to do."""
    for name in sys.argv[1:] or NAMES:
        module = importlib.import_module(f"bench.{name}")
        print(f"## {name}\n\n{module.table(uvloop.run(module.run()))}\n", flush=True)


if __name__ == "__main__":
    main()

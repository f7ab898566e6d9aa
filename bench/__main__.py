"""`python -m bench [NAME…]`: run the named measurements, or all, and print their tables. A table is also written to
docs/performance.md if that has a place for it.
"""

import importlib
from argparse import ArgumentParser

import uvloop

from bench.document import fill
from bench.figures import keep
from writ_testing import plugin

NAMES = (
    "end_to_end",
    "approvals",
    "pending",
    "audit",
    "policy",
    "policy_shapes",
    "policy_diff",
    "ssh",
    "scale",
    "flood",
    "slow_targets",
    "growth",
    "memory",
    "large_policies",
    "gateway",
    "proxmox",
    "nats_client",
)
ALONE = ("compose", "docker", "engines", "million", "reference")


def main() -> None:
    """Run the measurements one after the other. The machine should have nothing else to do."""
    known = (*NAMES, *ALONE)
    parser = ArgumentParser(prog="python -m bench", description="Run the named measurements, or all, in turn.")
    names_told = f"{', '.join(NAMES)}; only by name: {', '.join(ALONE)}"
    parser.add_argument("names", nargs="*", metavar="NAME", help=names_told)
    names = parser.parse_args().names
    if unknown := [name for name in names if name not in known]:
        parser.error(f"there is no measurement {unknown[0]}; there are {', '.join(known)}")
    plugin.enable()
    for name in names or NAMES:
        module = importlib.import_module(f"bench.{name}")
        found = uvloop.run(module.run())
        keep(name, found)
        tables = module.table(found)
        fill(f"{name}.py", tables)
        print(f"## {name}\n\n{tables}\n", flush=True)


if __name__ == "__main__":
    main()

"""`python -m bench [NAME…]`: run the named measurements, or all, and print their tables. A table is also written to
docs/performance.md if that has a place for it.
"""

import importlib
import sys

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
    "ssh",
    "scale",
    "flood",
    "slow_targets",
    "growth",
    "memory",
    "gateway",
    "proxmox",
    "nats_client",
)


def main() -> None:
    """Run the measurements one after the other. The machine should have nothing else to do."""
    plugin.enable()
    for name in sys.argv[1:] or NAMES:
        module = importlib.import_module(f"bench.{name}")
        found = uvloop.run(module.run())
        keep(name, found)
        tables = module.table(found)
        fill(f"{name}.py", tables)
        print(f"## {name}\n\n{tables}\n", flush=True)


if __name__ == "__main__":
    main()

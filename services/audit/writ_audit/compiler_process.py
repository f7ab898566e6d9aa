"""`python -m writ_audit.compiler_process`: compile one large policy (`writ_rules.policy_reader`)."""

import sys

from writ_rules.policy_reader import work
from writ_runtime.plugins.entry_points import load_catalogue

if __name__ == "__main__":
    sys.exit(work(lambda evaluators: load_catalogue(evaluators=evaluators)))

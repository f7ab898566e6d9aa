"""An example plugin: operations, handlers and an evaluator for tests.

It is not installed. `libs/testing/plugin` holds its metadata: with that folder on PYTHONPATH a process has the plugin.
"""

import os
import sys
from pathlib import Path

import writ_testing

METADATA = Path(writ_testing.__file__).parents[1] / "plugin"


def enable() -> None:
    """Make the plugin known to this process and its children."""
    folder = str(METADATA)
    if folder not in sys.path:
        sys.path.append(folder)
    others = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each and each != folder]
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *others])

"""Advice for a file operation on a path that no file root of its target holds."""

from writ_cli.arguments.suggestions import inventory_entries
from writ_cli.context.settings import Settings
from writ_contracts.bounds import first_names
from writ_contracts.requests import OperationView

UNDECLARED = "is not beneath any file root"
MOST = 5


def roots_advice(settings: Settings, view: OperationView) -> str:
    """Return the roots and the command that declares another; nothing for other outcomes.

    Requesters do not see a target's roots: only those who may read the installation's files.
    """
    if view.code != "outside_roots" or UNDECLARED not in view.message:
        return ""
    entry = next((one for one in inventory_entries(settings) or () if one.id == view.target), None)
    if entry is None:
        return ""
    roots = [root.path for root in entry.roots()]
    listed = f"they are {first_names(roots, MOST)}" if roots else "there are none"
    return f"; {listed}; `writ target set {view.target} 'file_roots=[…]'` replaces the list"

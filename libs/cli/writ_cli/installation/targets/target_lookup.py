"""A target of inventory.yaml by its name."""

from writ_cli.context.settings import Settings
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_contracts.nearest_name import near
from writ_documents.readers import read_inventory


def known_target(settings: Settings, name: str) -> Target:
    """Return the target of that name. Raises Invalid."""
    targets = {one.id: one for one in read_inventory(settings.home.inventory).targets}
    if name not in targets:
        hint = near(name, targets) or "; `writ target list` lists them"
        raise Invalid(f"there is no target {name[:80]!r} in the inventory{hint}", code="unknown_target")
    return targets[name]

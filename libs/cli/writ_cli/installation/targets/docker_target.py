"""`writ target add --docker`: an engine of this machine, or one over TLS, becomes a target."""

from writ_cli.context.settings import Settings
from writ_contracts.errors import Invalid
from writ_installation.administration.docker_targets import AddedEngine, NewEngine, add_docker_target
from writ_installation.administration.targets import when_used


async def add_engine(settings: Settings, new: NewEngine, of_others: dict[str, object]) -> AddedEngine:
    """Add it, and say what to do next. `of_others`: options for other kinds of targets. Raises Invalid, Conflict."""
    if unfit := [option for option, value in of_others.items() if value]:
        raise Invalid(f"{', '.join(unfit)} does not apply to a Docker engine")
    added = await add_docker_target(settings.home, new)
    if settings.screen.json:
        settings.screen.data(added)
        return added
    settings.screen.line(f"{new.name} is a target now, of role {new.role}: the engine at {new.address}")
    settings.screen.line("Everybody who may use that engine controls its whole host.")
    settings.screen.line(f"The file that makes this machine serve it: {added.credential}")
    settings.screen.line(f"Next, test it: writ target test {new.name}")
    if added.served is None:
        settings.screen.line(when_used(settings.home))
    return added

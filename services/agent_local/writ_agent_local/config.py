"""What the local agent reads from its environment: what every agent reads."""

from writ_agent.config import AgentConfig


class Config(AgentConfig, frozen=True, kw_only=True):
    """It needs nothing of its own: the grant carries what the target allows."""

"""The descriptor of the example plugin."""

from writ_contracts.plugins import WRIT_PLUGIN_API, Plugin

PLUGIN = Plugin(
    api=WRIT_PLUGIN_API, prefixes=("test", "fake"), summary="Operations, a backend and an evaluator for tests"
)

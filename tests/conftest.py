"""For all tests: the example plugin is known, and Hypothesis measures no time: on a busy machine drawing takes long."""

from hypothesis import HealthCheck, settings

from writ_testing import plugin

plugin.enable()

settings.register_profile("writ", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("writ")

"""For all tests: Hypothesis measures no time. Drawing takes long on a machine with other things to do: no defect."""

from hypothesis import HealthCheck, settings

settings.register_profile("writ", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("writ")

"""Processes get the variables that they need, and none of other programs."""

from writ_installation.processes.services import passed_on


def test_variables_of_gos_runtime_are_passed_on_to_nats_and_those_of_other_programs_are_not() -> None:
    environ = {"GOGC": "200", "GOMAXPROCS": "2", "GOMEMLIMIT": "1GiB", "GODEBUG": "gctrace=1", "AWS_SECRET": "x"}
    assert passed_on(environ) == {"GOGC": "200", "GOMAXPROCS": "2", "GOMEMLIMIT": "1GiB"}

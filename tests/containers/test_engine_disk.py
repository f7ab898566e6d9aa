"""The disk of an engine in words, with the remedy where it is low."""

import pytest

from writ_containers.engine_survey import disk_text, size
from writ_containers.stack_files import DiskSpace


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (2500, "2.5 kB"), (1.5e9, "1.5 GB"), (2e13, "20 TB")]
)
def test_size_has_three_digits_and_a_unit(number: float, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("free", "total", "is_low"), [(10**10, 10**11, False), (10**10, 10**12, True), (10**9, 2 * 10**9, True)]
)
def test_low_disk_names_what_frees_it(free: int, total: int, is_low: bool) -> None:
    assert ("docker system prune" in disk_text(DiskSpace(free, total), "/var/lib/docker")) is is_low

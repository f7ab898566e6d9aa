"""A message describes the disk of an engine, with the remedy if it is low."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from writ_containers.engine.api import Engine
from writ_containers.engine.stack_files import DiskSpace, LocalStackFiles
from writ_containers.engine_survey import disk_text, size
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target


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


class OddEngine(Engine):
    """An engine with the given answer to /system/df."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    async def get_json(
        self, path: str, query: Mapping[str, str], absent: Collection[int] = (), shape: Any = Any
    ) -> Any:
        return self._answer


@pytest.mark.parametrize(
    "answer", [None, [], "x", {"LayersSize": "x"}, {"Containers": [None]}, {"Containers": [{"SizeRw": {}}]}]
)
async def test_disk_usage_of_an_invalid_reply_is_an_error(answer: object) -> None:
    with pytest.raises(WritError) as refused:
        await OddEngine(answer).disk_usage()
    assert refused.value.code == "garbled"


async def test_disk_usage_adds_the_containers_and_reads_absent_sizes_as_zero() -> None:
    containers = [{"SizeRw": 2}, {"SizeRw": None}, {"Id": "x"}, {"SizeRw": 3}]
    assert await OddEngine({"LayersSize": 7, "Containers": containers}).disk_usage() == (7, 5)
    assert await OddEngine({"LayersSize": None, "Containers": None}).disk_usage() == (0, 0)


async def test_version_of_a_stack_file_is_another_though_size_and_modification_time_are_set_back(
    tmp_path: Path,
) -> None:
    file, target = tmp_path / "app.yaml", Target(id="x", role="testing", backend="docker", stack_dir=str(tmp_path))
    file.write_text("services: {web: {image: 'good:1'}}")
    times = file.stat()
    before = await LocalStackFiles().read(target, file.name)
    while file.stat().st_ctime_ns == times.st_ctime_ns:  # the clock of the file system has ticks
        file.write_text("services: {web: {image: 'evil:1'}}")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = await LocalStackFiles().read(target, file.name)
    assert after.text != before.text
    assert after.version != before.version

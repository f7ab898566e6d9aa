"""A service keeps the memory of a large message for the next one."""

import ctypes
import subprocess
import sys

import pytest

ROUNDS = """
import resource
from writ_runtime.service import keep_freed_memory
keep_freed_memory()
def pass_through():
    return [b"x" * (1 << 20) for _ in range(10)] and None
pass_through()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    pass_through()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES_OF_A_ROUND = 10 * 256


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library decides by itself")
def test_ten_copies_of_a_megabyte_need_no_new_pages_each_time() -> None:
    """An executor holds so many of a file of 1 MB at once."""
    ran = subprocess.run([sys.executable, "-c", ROUNDS], capture_output=True, check=True, text=True)
    assert int(ran.stdout) < PAGES_OF_A_ROUND

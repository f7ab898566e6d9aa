"""Values of a moment ago go by bytes and by age, the oldest first."""

import asyncio
import weakref

from writ_runtime.recent_values import RecentValues


class Text(str):
    """A text with weak references, unlike str."""

    __slots__ = ("__weakref__",)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_recent_values_keep_to_their_bytes_and_the_oldest_go_first() -> None:
    values: RecentValues[str] = RecentValues(10, 60.0, Clock())
    for name, size in (("a", 4), ("b", 4), ("c", 4), ("huge", 11)):
        values.put(name, name.upper(), size)
    assert [values.get(name) for name in ("a", "b", "c", "huge")] == [None, "B", "C", None]
    values.put("b", "again", 6)  # in place of four bytes
    assert [values.get(name) for name in ("b", "c")] == ["again", "C"]
    values.drop("c")
    values.put("d", "D", 4)
    assert [values.get(name) for name in ("b", "c", "d")] == ["again", None, "D"]


async def test_recent_values_of_an_earlier_time_are_gone() -> None:
    clock = Clock()
    values: RecentValues[str] = RecentValues(10, 5.0, clock)
    values.put("a", "A", 1)
    clock.now = 3.0
    values.put("b", "B", 1)
    clock.now = 6.0
    assert [values.get("a"), values.get("b")] == [None, "B"]


async def test_recent_values_are_dropped_at_their_age_without_another_use() -> None:
    values: RecentValues[Text] = RecentValues(100, 0.02)
    for name in ("a", "b"):
        text, gone = Text("secret"), asyncio.Event()
        weakref.finalize(text, gone.set)
        values.put(name, text, 6)
        del text
        async with asyncio.timeout(30):
            await gone.wait()

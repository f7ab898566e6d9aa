"""Many quick cases in one test: as tests of their own, each costs 7 ms of processor time in a run of five workers."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

Test = Callable[..., None]


def each_case(names: str | Iterable[str], values: Iterable[Any], ids: Any = None) -> Callable[[Test], Test]:
    """Return a decorator with the arguments of `pytest.mark.parametrize`, whose test runs every case.

    All cases run, and an ExceptionGroup names the failing ones. The test is no coroutine, and its fixtures are shared
    by all cases. Raises ValueError where there is no case: the test could not fail.
    """
    arguments = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    cases = list(_cases(arguments, values, ids))
    if not cases:
        raise ValueError(f"no case for {', '.join(arguments)}")

    def decorate(test: Test) -> Test:
        if inspect.iscoroutinefunction(test):
            raise TypeError(f"{test.__name__} is a coroutine")

        def all_cases(**fixtures: Any) -> None:
            failures = list(_failures(test, cases, fixtures))
            if failures:
                failed = ", ".join(name for name, _ in failures)
                message = f"{len(failures)} of {len(cases)} cases failed: {failed}"
                raise BaseExceptionGroup(message, [error for _, error in failures])

        parameters = inspect.signature(test).parameters
        given = [one for name, one in parameters.items() if name not in arguments]
        all_cases.__signature__ = inspect.Signature(given)  # type: ignore[attr-defined]
        all_cases.__name__, all_cases.__qualname__ = test.__name__, test.__qualname__
        all_cases.__module__, all_cases.__doc__ = test.__module__, test.__doc__
        if marks := getattr(test, "pytestmark", None):
            all_cases.pytestmark = list(marks)  # type: ignore[attr-defined]
        return all_cases

    return decorate


def _cases(arguments: list[str], values: Iterable[Any], ids: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    names = None if ids is None or callable(ids) else list(ids)
    for at, value in enumerate(values):
        of_case = [value] if len(arguments) == 1 else list(value)
        if names is not None:
            name = str(names[at])
        elif callable(ids):
            name = "-".join(str(ids(one)) for one in of_case)
        else:
            name = "-".join(one if isinstance(one, str) else repr(one) for one in of_case)
        yield name, dict(zip(arguments, of_case, strict=True))


def _failures(
    test: Test, cases: list[tuple[str, dict[str, Any]]], fixtures: dict[str, Any]
) -> Iterator[tuple[str, BaseException]]:
    for name, case in cases:
        try:
            test(**fixtures, **case)
        except (Exception, BaseExceptionGroup, pytest.fail.Exception) as error:  # noqa: BLE001  # raised again, with the others
            error.add_note(f"in case {name}")
            yield name, error

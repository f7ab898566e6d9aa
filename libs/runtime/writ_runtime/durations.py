"""Durations as text for people. Pure."""


def span(duration: float) -> str:
    """Return a duration for people: `3.2 ms`, `1.4 s`, `2 min 5 s`, `3 h 20 min`.

    One below 0, as between the times of two clocks, is `0 ms`.
    """
    duration = max(duration, 0.0)
    if duration < 0.9995:  # each bound is where the rounded number would need the next unit
        return f"{duration * 1000:.3g} ms"
    if duration < 59.95:
        return f"{duration:.1f} s"
    if (whole := round(duration)) < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

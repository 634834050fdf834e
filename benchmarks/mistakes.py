"""Benchmarks that read what a person names: a mistake gets words and an exit code, as in every other command."""

from collections.abc import Callable

from appliance.errors import ApplianceError, end


def told(main: Callable[[], int], name: str) -> int:
    """Measure, and say in words what is wrong with what was named.

    Args:
        main: measures; returns its exit code.
        name: of the benchmark.

    Returns:
        The exit code.
    """
    try:
        return main()
    except (ApplianceError, OSError) as error:
        return end(f"benchmarks.{name}", error)

"""Where a benchmark reads data that a person names, a mistake gets words and an exit code, as in every command."""

from collections.abc import Callable

from appliance.errors import ApplianceError, end


def tell_mistakes(main: Callable[[], int], name: str) -> int:
    """Measure, and say in words what is wrong with what was named.

    Args:
        main: measures; returns its exit code.
        name: of the benchmark.

    Returns:
        The exit code.

    Raises:
        OSError: It names no path, so it is a defect of the benchmark.
    """
    try:
        return main()
    except (ApplianceError, OSError) as error:
        return end(f"benchmarks.{name}", error)

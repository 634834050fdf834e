"""What a server must carry: checks of a fleet at a poll with jitter, and what a check costs, as it was counted."""

from typing import Any

import numpy as np

POLL_S = 900.0
JITTER = 0.3
DAY_S = 86400
HOUR_S = 3600


def checks_per_second(devices: int, *, at_once: bool, seed: int = 1) -> dict[str, float]:
    """Count the checks of a day in each second.

    Args:
        devices: how many ask.
        at_once: all begin in the same minute, as after a power cut; else they have long drifted apart.
        seed: of the jitter.

    Returns:
        Checks in the busiest second of the first and of the sixth hour, of the day, and the mean.
    """
    chance = np.random.default_rng(seed)
    count = int(DAY_S / (POLL_S * (1 - JITTER))) + 1
    first = chance.uniform(0, 60 if at_once else POLL_S, (devices, 1))
    waits = chance.uniform(POLL_S * (1 - JITTER), POLL_S * (1 + JITTER), (devices, count))
    moments = np.concatenate([first, first + np.cumsum(waits, axis=1)], axis=1).ravel()
    seconds = np.bincount(moments[moments < DAY_S].astype(np.int64), minlength=DAY_S)
    return {
        "first_hour_peak": int(seconds[:HOUR_S].max()), "sixth_hour_peak": int(seconds[5 * HOUR_S : 6 * HOUR_S].max()),
        "day_peak": int(seconds.max()), "mean": float(seconds.mean()),
    }  # fmt: skip


def per_check(figures: dict[str, list[int]], checks: int) -> dict[str, Any]:
    """Divide what the server counted by the checks that it was for.

    Args:
        figures: kind -> requests, bytes in, bytes out.
        checks: how many.
    """
    requests, bytes_in, bytes_out = (sum(each[place] for each in figures.values()) for place in range(3))
    kinds = {kind: round(each[0] / checks, 3) for kind, each in sorted(figures.items())}
    return {
        "checks": checks, "requests": round(requests / checks, 2), "bytes_in": round(bytes_in / checks),
        "bytes_out": round(bytes_out / checks), "requests_by_kind": kinds,
    }  # fmt: skip


def per_day(devices: int, check: dict[str, Any]) -> dict[str, float]:
    """Return what a day of checks without anything new costs a server."""
    checks = DAY_S / POLL_S
    spread, at_once = (checks_per_second(devices, at_once=at_once) for at_once in (False, True))
    return {
        "requests_per_device": round(checks * check["requests"]),
        "kilobytes_per_device": round(checks * (check["bytes_in"] + check["bytes_out"]) / 1000),
        "requests": round(devices * checks * check["requests"]),
        "gigabytes": round(devices * checks * (check["bytes_in"] + check["bytes_out"]) / 1e9, 2),
        "requests_per_s_mean": round(spread["mean"] * check["requests"], 1),
        "requests_per_s_peak": round(spread["day_peak"] * check["requests"]),
        "requests_per_s_peak_after_a_power_cut": round(at_once["first_hour_peak"] * check["requests"]),
        "requests_per_s_peak_six_hours_after_it": round(at_once["sixth_hour_peak"] * check["requests"]),
    }

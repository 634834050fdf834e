"""baseline.json: what in-control pictures look like, so that a device can tell when its own stop looking like that."""

import math
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from appliance.bundle.section import Section
from appliance.errors import BundleFormatError
from appliance.events import ImageStatistics

SCHEMA: Final = "vi.baseline/1"

StatisticName = Literal[
    "brightness_mean",
    "brightness_spread",
    "contrast",
    "sharpness",
    "clipped_low_ratio",
    "clipped_high_ratio",
    "red_green_ratio",
    "blue_green_ratio",
]


class Spread(Section):
    """Mean and standard deviation of one statistic over the pictures, in the statistic's own unit."""

    mean: float
    spread: Annotated[float, Field(ge=0.0)]


class Baseline(Section):
    """Statistics of in-control pictures: fields of ImageStatistics -> spread; count is the number of pictures."""

    schema_: Literal["vi.baseline/1"] = Field(alias="schema")
    count: Annotated[int, Field(ge=1)]
    statistics: dict[StatisticName, Spread]


def make_baseline(pictures: Sequence[ImageStatistics]) -> Baseline:
    """Sum up the statistics of in-control pictures.

    Args:
        pictures: one entry a picture, at least one; colour ratios are left out if any picture has none.

    Returns:
        Mean and standard deviation (population) of each statistic.

    Raises:
        BundleFormatError: there are no pictures.
    """
    if not pictures:
        raise BundleFormatError("a baseline needs at least one in-control picture; add good parts to the data set")
    names: tuple[StatisticName, ...] = StatisticName.__args__  # type: ignore[attr-defined]
    statistics: dict[StatisticName, Spread] = {}
    for name in names:
        values = [value for item in pictures if (value := getattr(item, name)) is not None]
        if len(values) == len(pictures):
            mean = math.fsum(values) / len(values)
            variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
            statistics[name] = Spread(mean=mean, spread=math.sqrt(variance))
    return Baseline(schema=SCHEMA, count=len(pictures), statistics=statistics)

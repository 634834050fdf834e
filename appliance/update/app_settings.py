"""What updates of the application may take; apart, as every call of the agent reads its settings."""

from typing import Annotated

from pydantic import Field

from appliance.bundle.section import Section


class AppWork(Section):
    """What making and trying a slot may take.

    build_s, smoke_s: seconds. memory_mb: of private data, in 10^6 bytes. system_packages: the slot also sees what the
    system's interpreter has, such as JetPack's TensorRT.
    """

    build_s: Annotated[float, Field(gt=0, le=100_000)] = 1800
    smoke_s: Annotated[float, Field(gt=0, le=100_000)] = 900
    memory_mb: Annotated[int, Field(ge=16, le=10_000_000)] = 4000
    system_packages: bool = False


class AppLimits(Section):
    """How long a trial may take, and what WATCH bears.

    trial_min: minutes until a release on trial must be well, also if nobody ever starts it; in WATCH, until a program
    that does not run is taken for lost. most_restarts: of its programs in WATCH, for whatever reason but a reboot.
    """

    trial_min: Annotated[float, Field(gt=0, le=10_000)] = 90.0
    most_restarts: Annotated[int, Field(ge=0, le=1000)] = 3

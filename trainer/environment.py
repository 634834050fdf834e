"""On what a run was made: versions and the processor, for whoever has to make it again."""

from __future__ import annotations

import os
import platform

import cv2
import numpy as np
import torch

from appliance import processor


def environment() -> dict[str, str]:
    """Return names and versions of what computes here."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "system": platform.system(),
        "processor": processor.name() or platform.processor() or platform.machine(),
        "cores": str(os.cpu_count() or 0),
    }

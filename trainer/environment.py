"""On what a run was made: versions and the processor, for whoever has to make it again."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import cv2
import numpy as np
import torch


def environment() -> dict[str, str]:
    """Return names and versions of what computes here."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "system": platform.system(),
        "processor": _processor(),
        "cores": str(os.cpu_count() or 0),
    }


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8", errors="replace").splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

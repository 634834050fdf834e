"""Where figures go, and on which machine and day they were taken."""

import json
import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from appliance import processor

RESULTS = Path(__file__).resolve().parent / "results"


def machine() -> dict[str, Any]:
    """Describe this machine as far as it matters for a figure."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "processor": processor.name() or "unknown",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def write(name: str, document: dict[str, Any]) -> Path:
    """Write benchmarks/results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path

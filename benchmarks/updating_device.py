"""One device of `benchmarks.updates`, in a process of its own that imports what `appliance agent` does.

`python -m benchmarks.updating_device FOLDER URL NAME` prints one line of JSON.
"""

import json
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

NOT_ON_A_DEVICE = ("boto3", "botocore", "google", "pkcs11", "azure")
"""What other extras of an environment may bring; signing in clouds, which securesystemslib would import."""


def memory_mib(process: str = "self") -> dict[str, float]:
    """Return a process's memory in MiB: resident, what of it is its own, and the most it ever was."""
    names = {"VmRSS": "resident", "RssAnon": "own", "VmHWM": "peak"}
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    found = {line.partition(":")[0]: line for line in lines}
    return {word: round(int(found[name].split()[1]) / 1024, 1) for name, word in names.items()}


def work(folder: Path, url: str, name: str) -> dict[str, Any]:
    """Refresh cold and warm, download, check the file that is there; say how long it took and what it needed."""
    import appliance.agent
    import appliance.update.settings  # noqa: F401  # reads the configuration
    from appliance.clock import SystemClock

    found: dict[str, Any] = {"waiting_mib": memory_mib()}
    from appliance.update.download import TargetStore
    from appliance.update.floor import Floor
    from appliance.update.https import HttpsSource
    from appliance.update.pace import TransferLimits
    from appliance.update.repository import TrustedRepository
    from appliance.update.transport import Transport

    transport = Transport(TransferLimits(), allows_plain_loopback=True)
    repository = TrustedRepository(
        "online",
        HttpsSource(f"{url}/metadata", transport),
        folder / "metadata",
        root=(folder / "root.json").read_bytes(),
        floor=Floor(folder / "floor.json", datetime(2020, 1, 1, tzinfo=timezone.utc)),
        clock=SystemClock(),
    )
    store = TargetStore(folder / "files", HttpsSource(f"{url}/targets", transport))
    moments = [time.perf_counter()]
    for do in (repository.refresh, repository.refresh):
        do()
        moments.append(time.perf_counter())
    target = repository.find(name)
    moments.append(time.perf_counter())
    for _ in range(2):
        store.fetch(target)
        moments.append(time.perf_counter())
    names = ("refresh_cold_ms", "refresh_ms", "find_ms", "download_ms", "verify_ms")
    found |= {name: (moments[at + 1] - moments[at]) * 1000 for at, name in enumerate(names)}
    return found | {"asked_mib": memory_mib()}


if __name__ == "__main__":
    sys.modules |= dict.fromkeys(NOT_ON_A_DEVICE)  # type: ignore[arg-type]  # None: not to be found
    sys.stdout.write(json.dumps(work(Path(sys.argv[1]), *sys.argv[2:])))

"""NVIDIA's cards in a folder that stands for "/": a library in place of the driver's, and what it tells."""

import subprocess
from pathlib import Path

from appliance.nvidia_cards import BELOW_A_ROOT
from tests.device_root import write

TELLS = BELOW_A_ROOT + ".txt"
A2000 = {
    "driver": "550.54.15",
    "cards": "1",
    "0.name": "NVIDIA RTX A2000",
    "0.most.0": "2100",
    "0.most.2": "6001",
    "0.power": "70000",
    "0.reasons": "0x1",
    "0.violation.1": "4200000000",
    "0.temperature.0": "54",
}
"""A card at rest, of a kind whose applications have no clocks of their own; 4200 ms it was held back before."""


def install_driver(root: Path, *flags: str) -> None:
    """Put the library where this device has it."""
    library = root / BELOW_A_ROOT
    library.parent.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).with_name("nvml_stand_in.c")
    subprocess.run(
        ["cc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", *flags, "-o", library, source, "-ldl"], check=True
    )


def tell(root: Path, told: dict[str, str]) -> None:
    """Let the cards be so from now on."""
    write(root, {TELLS: "".join(f"{key} {value}\n" for key, value in told.items())})

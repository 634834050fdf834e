"""What `trainer pretrain` does, and how its result is shown."""

from __future__ import annotations

import argparse

import cv2

from appliance.errors import ConfigError
from trainer.backbone import pack
from trainer.device import choose
from trainer.files import write_json
from trainer.lineage import source_commit
from trainer.pretrain import Pretraining, held_out_ap
from trainer.pretrain import pretrain as fit
from trainer.progress import console, results
from trainer.surfaces.preview import contact_sheet
from trainer.surfaces.sample import CLASSES, VERSION
from trainer.threads import usable_cores


def pretrain(arguments: argparse.Namespace) -> int:
    """Fit the net to generated surfaces, judge it and write it; or only show the surfaces.

    Args:
        arguments: of `trainer pretrain`.

    Returns:
        The exit code.

    Raises:
        ConfigError: The file's name does not end as it must.
    """
    if arguments.preview:
        _, drawn = cv2.imencode(".png", contact_sheet(arguments.seed))
        arguments.preview.write(drawn.tobytes())
        results.print(f"{arguments.preview.path}: 40 generated samples, each over its reference", soft_wrap=True)
        return 0
    if arguments.out.path.suffix != ".safetensors":
        raise ConfigError(f"--out {arguments.out.path}: must end in .safetensors, by which the file is read again")
    dials = _dials(arguments)
    dials.check()
    console.print(
        f"size {dials.size}: {dials.steps} steps of {dials.batch} pictures on {dials.device} (processor threads: "
        f"{dials.threads}; processes that make the pictures: {dials.workers})",
        soft_wrap=True,
    )
    commit = source_commit()
    net, steps = fit(dials)
    ap = {name: held_out_ap(net, dials, arguments.pictures, name == "with") for name in ("with", "without")}
    notes = {
        "size": dials.size,
        "generator": VERSION,
        "classes": list(CLASSES),
        "seed": dials.seed,
        "steps": steps,
        "batch": dials.batch,
        "side_px": dials.side_px,
        "source_commit": commit,
        "licence": "Apache-2.0",
        "ap33_with_reference": round(ap["with"], 4),
        "ap33_without_reference": round(ap["without"], 4),
    }
    arguments.out.write(data := pack(net, notes))
    results.print(
        f"AP@0.33 on the defective ones of {arguments.pictures} pictures that were not learned: {ap['with']:.4f} with "
        f"a reference, {ap['without']:.4f} without\n{arguments.out.path}: {len(data) / 1e6:.2f} MB after {steps} steps",
        soft_wrap=True,
    )
    if arguments.json:
        write_json(arguments.json.path, notes)
    return 0


def _dials(arguments: argparse.Namespace) -> Pretraining:
    device, cores = choose(arguments.device), usable_cores()
    workers = arguments.workers
    if workers is None:  # without a GPU, a step's arithmetic takes half as long again as making its pictures
        workers = max(1, cores - 1 if device == "cuda" else cores * 2 // 5)
    return Pretraining(
        steps=arguments.steps,
        batch=arguments.batch,
        seed=arguments.seed,
        minutes=arguments.minutes,
        side_px=arguments.side,
        workers=workers,
        threads=max(1, cores - workers),
        device=device,
        size=arguments.size,
    )

"""The shipped model with golden images and other precisions as today's trainer makes them; its weights stay.

`python -m benchmarks.renewed_bundle`, after `make demo-bundle` or in its place. The boards are those that the model was
trained on, which is verified by the digest in the bundle; what is judged here was held out.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from appliance.__main__ import main as appliance
from appliance.bundle.archive import Bundle, read_bundle, write_bundle
from benchmarks.demo_bundle import BUNDLE, REVISION, TRAINED_SEED, simulation
from trainer.datasets.reading import dataset_digest, read_dataset
from trainer.datasets.sample import spread
from trainer.datasets.split import Split, split_by_group
from trainer.evaluate import BundleRunner, judge_samples
from trainer.golden import GOLDEN_IMAGES, choose_golden, counted, settle
from trainer.variants import Gate, in_words, make_variants

JUDGED_PARTS = 600
"""Of the held-out boards: enough for the gate of a precision, which asks for 0.3 points of AP."""


def renew(old: Bundle, split: Split, target: Path, revision: int, at_once: int) -> Bundle:
    """Write a bundle with the same model.onnx.

    Args:
        old: the bundle.
        split: what its model was trained and judged on.
        target: the new bundle's file.
        revision: the new bundle's.
        at_once: pictures judged at once.
    """
    dataset = replace(split.validation, samples=tuple(spread(split.validation.samples, JUDGED_PARTS)))
    manifest = old.manifest.model_copy(update={"revision": revision})
    runner = BundleRunner(old.model_onnx, manifest)
    judged, _ = judge_samples(runner, dataset, at_once=at_once)
    pool = choose_golden(dataset, judged, runner, GOLDEN_IMAGES)
    base = replace(old, manifest=manifest, golden=tuple(pool), variants={})
    variants = make_variants(Gate(base, dataset, judged, at_once), split, ("fp16", "int8"))
    golden = settle(pool, replace(base, variants=variants.models()), GOLDEN_IMAGES)
    kinds = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counted(golden).items())
    told = "\n".join(f"- {line}" for line in in_words(variants.told()))
    card = (
        f"{old.model_card.rstrip()}\n\n## Revision {revision}\n\nThe weights and figures above are those of revision "
        f"{old.manifest.revision}. New are the golden images ({kinds})\n"
        f"and, judged on {len(judged)} held-out boards:\n\n{told}\n"
    )
    return write_bundle(
        target,
        manifest.with_variants(variants.told()),
        model_onnx=old.model_onnx,
        golden=golden,
        baseline=old.baseline,
        model_card=card,
        variants=variants.models(),
    )


def main() -> int:
    """Renew the shipped bundle, and say what it holds."""
    parser = argparse.ArgumentParser(prog="benchmarks.renewed_bundle", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/demo"), help="boards (default %(default)s)")
    parser.add_argument("--parts", type=int, default=10_000, help="boards it was trained on (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    old, boards = read_bundle(BUNDLE), arguments.folder / "boards"
    if old.manifest.revision >= REVISION:
        sys.stderr.write(f"{BUNDLE} has revision {REVISION} already; raise REVISION in benchmarks/demo_bundle.py\n")
        return 1
    is_simulated = (boards / "annotations.json").is_file()
    if not is_simulated and (code := appliance(simulation(boards, arguments.parts, TRAINED_SEED))):
        return code
    split = split_by_group(read_dataset(boards))
    if dataset_digest(split.whole()) != old.manifest.lineage.dataset_digest:
        sys.stderr.write(f"{boards}: are other boards than those that {BUNDLE.name} was trained on; make demo-bundle\n")
        return 1
    new = renew(old, split, BUNDLE, REVISION, arguments.threads)
    held = ", ".join(new.holds())
    sys.stdout.write(f"{BUNDLE}: revision {new.manifest.revision}, {held}, {len(new.golden)} golden images\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

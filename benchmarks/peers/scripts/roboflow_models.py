"""Roboflow's engine, `inference-models`, on pictures read with cv2, as its documentation shows; Apache-2.0."""

from collections.abc import Iterator
from importlib.metadata import version

import cv2
import measuring
import without_torchvision


def bests(given: measuring.argparse.Namespace) -> Iterator[float]:
    without_torchvision.allow_import()
    from inference_models import AutoModel

    model = AutoModel.from_pretrained(str(given.model))
    for path in measuring.pictures(given.pictures):
        (found,) = model(cv2.imread(path))
        yield float(found.confidence.max()) if len(found.confidence) else 0.0


if __name__ == "__main__":
    given = measuring.arguments(__doc__ or "")
    measuring.tell(
        f"inference-models {version('inference-models')}, onnxruntime {version('onnxruntime')}", bests(given)
    )

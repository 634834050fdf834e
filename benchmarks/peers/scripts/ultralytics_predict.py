"""Ultralytics' predict loop on a folder, streamed, as its documentation shows; AGPL-3.0, so apart from all else."""

from collections.abc import Iterator

import measuring
import ultralytics


def bests(given: measuring.argparse.Namespace) -> Iterator[float]:
    model = ultralytics.YOLO(str(given.model), task="detect")
    for result in model.predict(str(given.pictures), stream=True, imgsz=640, conf=0.25, device="cpu", verbose=False):
        confidences = result.boxes.conf
        yield float(confidences.max()) if len(confidences) else 0.0


if __name__ == "__main__":
    measuring.tell(f"ultralytics {ultralytics.__version__}", bests(measuring.arguments(__doc__ or "")))

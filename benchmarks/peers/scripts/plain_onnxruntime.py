"""ONNX Runtime as a user writes it on the first day: cv2 and numpy around `session.run`, suppression in a loop."""

from collections.abc import Iterator

import cv2
import measuring
import numpy as np
import onnxruntime


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return float(both / (areas - both))


def suppressed(rows: np.ndarray) -> list[np.ndarray]:
    kept: list[np.ndarray] = []
    for row in sorted(rows, key=lambda row: -row[4]):
        if all(row[5] != other[5] or overlap(row, other) < 0.5 for other in kept):
            kept.append(row)
    return kept


def bests(given: measuring.argparse.Namespace) -> Iterator[float]:
    session = onnxruntime.InferenceSession(str(given.model), providers=["CPUExecutionProvider"])
    height, width = session.get_inputs()[0].shape[2:]
    for path in measuring.pictures(given.pictures):
        picture = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
        picture = cv2.resize(picture, (width, height))
        image = np.expand_dims(picture.astype(np.float32).transpose(2, 0, 1) / 255.0, 0)
        rows = session.run(None, {"images": image})[0][0]
        found = suppressed(rows[rows[:, 4] > 0.25])
        yield max((float(row[4]) for row in found), default=0.0)


if __name__ == "__main__":
    measuring.tell(f"onnxruntime {onnxruntime.__version__}", bests(measuring.arguments(__doc__ or "")))

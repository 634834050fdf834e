"""Anomalib's OpenVINO inferencer, asked about a path, as its documentation shows; Apache-2.0."""

from collections.abc import Iterator
from importlib.metadata import version

import measuring
import without_torchvision


def bests(given: measuring.argparse.Namespace) -> Iterator[float]:
    without_torchvision.allow_import()
    from anomalib.deploy import OpenVINOInferencer

    inferencer = OpenVINOInferencer(path=given.model, device="CPU")
    for path in measuring.pictures(given.pictures):
        yield float(inferencer.predict(path).pred_score[0])


if __name__ == "__main__":
    given = measuring.arguments(__doc__ or "")
    measuring.tell(f"anomalib {version('anomalib')}, openvino {version('openvino')}", bests(given))

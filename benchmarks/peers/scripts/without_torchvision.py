"""Lets torchvision be imported where its compiled half does not fit torch: one is built for CUDA, the other not.

The peers import it and do not use it here; without this, it ends them with `operator torchvision::nms does not exist`.
"""

import torch


def allow_import() -> None:
    """Name the operators, so that torchvision can say what shapes they have; asking them to compute still fails."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    kept.append(library)


kept: list[torch.library.Library] = []

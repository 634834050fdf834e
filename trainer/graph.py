"""The model contract as one ONNX graph: a picture's bytes in, boxes with honest scores out."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from appliance.errors import ConfigError
from trainer.candidates import CANDIDATES, pick
from trainer.model import SIDE_MULTIPLE, STRIDE, Net, cell_centres, decode_boxes
from trainer.score_calibration import ScoreMap
from trainer.turned import plain

OPSET = 17
"""The newest that TensorRT 10.3 (JetPack 6) takes without surprises."""


class ContractNet(nn.Module):
    """A net with everything around it that a device must not do differently from the trainer.

    Cast comes first, because TensorRT takes uint8 into nothing else. Suppression of doubles stays outside: it has no
    fixed shape.

    Args:
        net: the averaged net.
        scores: the calibration, folded in.
        height: height of the picture in pixels, a multiple of 32.
        width: width of the picture in pixels, a multiple of 32.

    Raises:
        ConfigError: A side is no multiple of 32, or the picture has fewer than 100 cells.
    """

    centres: Tensor
    limits: Tensor

    def __init__(self, net: Net, scores: ScoreMap, height: int, width: int) -> None:
        super().__init__()
        if height % SIDE_MULTIPLE or width % SIDE_MULTIPLE:
            raise ConfigError(f"input of {width} x {height} pixels: both sides must be multiples of {SIDE_MULTIPLE}")
        if height * width < CANDIDATES * STRIDE**2:
            raise ConfigError(f"input of {width} x {height} pixels has fewer than {CANDIDATES} cells; use a larger one")
        self.net = net
        self.slope, self.shift = scores.slope, scores.shift
        self.register_buffer("centres", cell_centres(height, width)[None])
        self.register_buffer("limits", torch.tensor([width, height, width, height], dtype=torch.float32))
        self.eval()  # of the whole: the exporter restores the mode it finds, and running statistics must not move

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detect.

        Args:
            image: uint8 [N, H, W, C].

        Returns:
            Boxes float32 [N, 100, 4] (x1 y1 x2 y2 in pixels, inside the picture), scores float32 [N, 100] (falling,
            calibrated) and labels int64 [N, 100].
        """
        logits, distances = self.net(image.float().permute(0, 3, 1, 2) * (1.0 / 255.0))
        top, cells, labels = pick(logits)
        rows, distances = cells.unsqueeze(2), distances.flatten(2).transpose(1, 2)
        boxes = torch.gather(decode_boxes(distances, self.centres), 1, torch.cat((rows, rows, rows, rows), dim=2))
        boxes = torch.minimum(torch.relu(boxes), self.limits)
        return boxes, torch.sigmoid(self.slope * top + self.shift), labels


def to_onnx(model: ContractNet, channels: int) -> bytes:
    """Write the graph; batch free, height and width fixed.

    Args:
        model: net, calibration and size; the file gets plain convolutions.
        channels: 1 or 3.

    Returns:
        The ONNX file, checked by onnx's own checker.
    """
    width, height = (int(side) for side in model.limits[:2])
    model = plain(model)
    example = torch.zeros((2, height, width, channels), dtype=torch.uint8)
    file = io.BytesIO()
    names = ["image", "boxes", "scores", "labels"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the legacy exporter announces its end; the new one writes other graphs
        torch.onnx.export(
            model,
            (example,),
            file,  # type: ignore[arg-type]  # a file object works; the annotation knows paths alone
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={name: {0: "batch"} for name in names},
            opset_version=OPSET,
            dynamo=False,
        )
    graph = onnx.load_from_string(file.getvalue())
    for output in graph.graph.output:  # the exporter names these sizes, although TopK fixes them
        output.type.tensor_type.shape.dim[1].dim_value = CANDIDATES
    onnx.checker.check_model(graph, full_check=True)
    content: bytes = graph.SerializeToString()
    return content


@torch.inference_mode()
def run_torch(model: ContractNet, images: NDArray[np.uint8]) -> tuple[NDArray[np.generic], ...]:
    """Run the model in torch, for comparison.

    Args:
        model: net, calibration and size.
        images: uint8 [N, H, W, C].

    Returns:
        Boxes, scores and labels as arrays.
    """
    return tuple(output.numpy() for output in model(torch.from_numpy(images)))

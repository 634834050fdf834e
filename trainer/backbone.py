"""Where a net begins: weights that were pre-trained elsewhere, fitted to its input; its class head is drawn anew."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
import torch
from fsspec.exceptions import FSTimeoutError
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialise
from torch import Tensor

from appliance.errors import ConfigError
from trainer.checkpoint import DAMAGE
from trainer.model import PAD_VALUE, Net
from trainer.sizes import NetShape, Size, name_of
from trainer.stored_files import store_errors
from trainer.turned import TURNS

SHIPPED = Path(__file__).parent / "weights"
"""Folder of what `--weights auto` takes, a file for each size of net; docs/training.md tells how they are made."""

PLENTY = 600
"""Of so many defective pictures and more, `auto` draws the weights: of DeepPCB's thousand, pre-trained nets learned no
more than others."""

LARGEST_BYTES = 256 << 20
"""A larger file holds no weights of this net."""

_FIRST, _FIRST_MEAN = "stem.0.weight", "stem.1.running_mean"

_REMEDY = (
    "choose the --size that it was made with, or --weights none; what was made before kernels were turned fits no more"
)

_UNREACHABLE = (ValueError, ImportError, FSTimeoutError)
"""What fsspec raises beside a store's own errors when an address cannot be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Backbone:
    """Weights that fit a net.

    Args:
        name: of the file.
        digest: SHA-256 of the file, 64 hexadecimal digits.
        tensors: float32, by the net's own names; those of the class head are not among them.
        holdout: groups that the run whose weights they are never learned from; None if they are of no run.
        dataset_digest: of that run's data; empty if it is not known.
    """

    name: str
    digest: str
    tensors: dict[str, Tensor]
    holdout: tuple[str, ...] | None = None
    dataset_digest: str = ""

    def __str__(self) -> str:
        return f"{self.name} sha256:{self.digest}"

    def may_have_learned(self, judged_on: Iterable[str]) -> str:
        """Say which held-out groups the run behind the weights did not hold out; empty if none, or if there is no run.

        Args:
            judged_on: names of the groups.

        Returns:
            The words, to be put before a person.
        """
        learned = [] if self.holdout is None else sorted(set(judged_on) - set(self.holdout))
        more = f" and {len(learned) - 3} more" if len(learned) > 3 else ""
        return f"did not hold out {', '.join(learned[:3])}{more}" if learned else ""


def find_backbone(
    asked: str, digest: str | None, shape: NetShape, defective: int = 0, *, is_copper: bool = False
) -> tuple[Backbone | None, str]:
    """Return the weights that a net is to begin with, and a line that says which.

    Args:
        asked: "auto" for the shipped file if it fits and data is scarce, "none", or a path or an address.
        digest: what the file must have, "sha256:HEX"; needed unless the file is local.
        shape: of the net.
        defective: pictures with defects that there are to learn from, and to judge on.
        is_copper: whether they show binarised copper, where the shipped weights help beside a reference alone.

    Raises:
        ConfigError: The file is missing, damaged, another one, or of another net.
    """
    if asked in ("auto", "none") and digest:
        raise ConfigError(f"--weights-digest belongs to an address, and --weights is {asked}; name the file")
    if asked == "none":
        return None, "begins with weights drawn at random (--weights none)"
    if asked != "auto":
        found = _fitted(asked, _read(asked, digest), shape)
        known = "" if found.holdout is not None else "; nothing is known of the pictures that it learned from"
        return found, f"begins with {found}{known}"
    file = shipped_file(shape)
    if file is None:
        return None, "begins with weights drawn at random: none are shipped for a net of this width and depth"
    if defective >= PLENTY:
        return None, (
            f"begins with weights drawn at random: {defective} defective pictures are enough for that "
            f"(--weights {file} takes the shipped ones)"
        )
    if is_copper and not shape.sees_reference:
        return None, (
            "begins with weights drawn at random: on binarised copper without a reference the shipped ones "
            f"cost more than they bring (--weights {file} takes them)"
        )
    found = _fitted(str(file), _read(str(file), None), shape)
    return found, f"begins with {found}"


def shipped_file(shape: NetShape) -> Path | None:
    """Return the shipped weights of nets as wide and deep as this one, None if there are none."""
    name = name_of(Size(shape.width, shape.depth, shape.detail))
    file = SHIPPED / f"backbone-{name}.safetensors"
    return file if name and file.is_file() else None


def adopt(net: Net, backbone: Backbone) -> None:
    """Put the weights into a net; its class head stays as it was drawn.

    Args:
        net: of the shape that the weights were found for.
        backbone: the weights.
    """
    net.load_state_dict(backbone.tensors, strict=False)


def adapted(tensors: Mapping[str, Tensor], channels: int) -> dict[str, Tensor]:
    """Return weights for another number of input channels.

    What was pre-trained sees a grey picture and its reference. A net that sees no reference gets what a constant one
    (PAD_VALUE everywhere) adds to the first layer, folded into its normalisation; exact but at the picture's border.

    Args:
        tensors: of a net with 2 channels; of as many as wanted they are returned as they are.
        channels: 1 (grey) or 3 (RGB); 2 or 6 with a reference behind the picture.

    Raises:
        ValueError: They are of neither.
    """
    made = dict(tensors)
    kernel = tensors[_FIRST]
    if kernel.shape[1] == channels:
        return made
    if kernel.shape[1] != 2:
        raise ValueError(f"they see {kernel.shape[1]} channels and not {channels}")
    picture, reference = kernel[:, :1], kernel[:, 1:]
    if channels % 2:
        added = PAD_VALUE / 255.0 * reference.sum(dim=(1, 2, 3))  # the same in all directions
        made[_FIRST_MEAN] = tensors[_FIRST_MEAN] - added.repeat_interleave(TURNS)
        made[_FIRST] = picture.repeat(1, channels, 1, 1) / channels
    else:
        half = channels // 2
        made[_FIRST] = torch.cat([part.repeat(1, half, 1, 1) / half for part in (picture, reference)], dim=1)
    return made


def pack(net: Net, notes: Mapping[str, Any]) -> bytes:
    """Return everything in a net but its class head as a safetensors file.

    Kernels are float16; vectors, which are few and normalise, stay float32.

    Args:
        net: on any device.
        notes: what the file says about itself; values become text.
    """
    kept = {name: tensor for name, tensor in net.state_dict().items() if _is_carried(name)}
    tensors = {n: (t.half() if t.ndim > 1 else t.float()).cpu().contiguous() for n, t in kept.items()}
    told = {"shape": net.shape.as_dict(), **notes}
    return serialise(
        tensors, {key: value if isinstance(value, str) else json.dumps(value) for key, value in told.items()}
    )


def _is_carried(name: str) -> bool:
    return not name.startswith("class_head.") and not name.endswith(".num_batches_tracked")


def _looks_around(name: str) -> bool:
    return name.startswith("around.")


def _fitted(where: str, data: bytes, shape: NetShape) -> Backbone:
    """Bring a file's tensors into the net's shape, or say why that cannot be."""
    tensors, holdout, of_data = _content(where, data)
    found = {name: tensor.float() for name, tensor in tensors.items() if _is_carried(name)}
    wanted = {name: tensor.shape for name, tensor in Net(shape).state_dict().items() if _is_carried(name)}
    if not any(map(_looks_around, found)):  # made beside references, or before nets looked around
        wanted = {name: size for name, size in wanted.items() if not _looks_around(name)}
    elif shape.sees_reference:  # it does not fit, and is told below by its channels
        found = {name: tensor for name, tensor in found.items() if not _looks_around(name)}
    lacking, strange = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if lacking or strange:
        what = f"has no {lacking[0]}" if lacking else f"has a {strange[0]}"
        raise ConfigError(f"{where}: holds the weights of another net ({what}); {_REMEDY}")
    for name, size in wanted.items():
        first = 2 if name == _FIRST else 1  # its channels are fitted below
        if found[name].shape[:1] + found[name].shape[first:] != size[:1] + size[first:]:
            told = [" x ".join(str(length) for length in one) for one in (found[name].shape, size)]
            raise ConfigError(f"{where}: does not fit this net: {name} is {told[0]} and must be {told[1]}; {_REMEDY}")
    if not all(torch.isfinite(tensor).all() for tensor in found.values()):
        raise ConfigError(f"{where}: holds a number that is none; make the file again, or --weights none")
    try:
        tensors = adapted(found, shape.channels)
    except ValueError as error:
        raise ConfigError(f"{where}: does not fit this net: {error}; --weights none does without") from error
    return Backbone(_file_name(where), hashlib.sha256(data).hexdigest(), tensors, holdout, of_data)


def _file_name(where: str) -> str:
    """Return the name of a file without what a signed address adds: that is a secret, and a run tells the name."""
    parts = urlsplit(where)
    return ((parts.path or parts.netloc) if "://" in where else where).rsplit("/", 1)[-1]


def _content(where: str, data: bytes) -> tuple[dict[str, Tensor], tuple[str, ...] | None, str]:
    """Decode a safetensors file, a torch state dict, or a run's own checkpoint: that knows its held-out groups, too."""
    try:
        if _file_name(where).endswith(".safetensors"):
            return parse(data), None, ""
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        tensors = content.get("average", content)
        if not all(isinstance(value, Tensor) for value in tensors.values()):
            raise ValueError("it is no dict of tensors")
        is_run = "average" in content and "holdout" in content
        holdout = tuple(str(name) for name in content["holdout"]) if is_run else None
        return dict(tensors), holdout, str(content.get("dataset_digest", "")) if is_run else ""
    except (SafetensorError, AttributeError, *DAMAGE) as error:
        raise ConfigError(
            f"{where}: is damaged or holds no weights ({error}); a .safetensors file or a torch state dict is needed"
        ) from error


def _read(address: str, digest: str | None) -> bytes:
    """Read a file from wherever it is, and hold it against its digest."""
    is_local = "://" not in address or address.startswith("file://")
    if digest is None and not is_local:
        raise ConfigError(f"{address}: comes from elsewhere; say with --weights-digest sha256:HEX which file you mean")
    try:
        with fsspec.open(address, "rb") as file:
            data = bytes(file.read(LARGEST_BYTES + 1))
    except (*_UNREACHABLE, *store_errors()) as error:
        raise ConfigError(f"{address}: cannot be read ({error}); name another file, or --weights none") from error
    if len(data) > LARGEST_BYTES:
        raise ConfigError(f"{address}: is larger than {LARGEST_BYTES >> 20} MB, and no weights of this net are")
    found = "sha256:" + hashlib.sha256(data).hexdigest()
    if digest is not None and digest != found:
        raise ConfigError(f"{address}: has the digest {found}, and {digest} was asked for; get the right file")
    return data

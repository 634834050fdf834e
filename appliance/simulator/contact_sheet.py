"""`python -m appliance.simulator.contact_sheet FILE`: one picture that shows boards, defects and optics."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

import cv2
import numpy as np

from appliance.arguments import OutputFile, new_file, whole
from appliance.errors import StorageError, end
from appliance.simulator.boards import Pixels
from appliance.simulator.defects import DEFECT_KINDS
from appliance.simulator.line import SimulatedLine, SimulatedPart
from appliance.simulator.optics import Optics

_TILE_PX = 160
_CLOSE_PX = 64
_PARTS = 40
_FEW_SHADES = np.minimum(np.arange(256) // 12 * 12 + 6, 255).astype(np.uint8)
_STAGED: tuple[tuple[str, Optics], ...] = (
    ("good", Optics()),
    ("lamp 60 %", Optics(lamp_brightness=0.6)),
    ("falloff 50 %", Optics(lamp_falloff=0.5)),
    ("3500 K", Optics(colour_temperature_k=3500.0)),
    ("gain 18 dB", Optics(gain_db=18.0, exposure_us=250.0)),
    ("defocus 3 px", Optics(defocus_px=3.0)),
    ("vignetting 60 %", Optics(vignetting=0.6)),
    ("12 specks", Optics(dust_specks=12.0)),
    ("shift 60 px", Optics(shift_x_px=60.0, shift_y_px=-30.0)),
    ("turn 6 deg", Optics(rotation_deg=6.0)),
)


def _tile(pixels: Pixels, title: str) -> Pixels:
    rgb = pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)
    method = cv2.INTER_AREA if rgb.shape[0] > _TILE_PX else cv2.INTER_CUBIC
    tile = cv2.resize(rgb, (_TILE_PX, _TILE_PX), interpolation=method)
    framed = cv2.copyMakeBorder(tile, 22, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    cv2.putText(framed, title, (5, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.asarray(framed, np.uint8)


def _close_up(part: SimulatedPart, box: tuple[int, int, int, int]) -> Pixels:
    height, width, _ = part.pixels.shape
    left = int(np.clip((box[0] + box[2] - _CLOSE_PX) // 2, 0, width - _CLOSE_PX))
    top = int(np.clip((box[1] + box[3] - _CLOSE_PX) // 2, 0, height - _CLOSE_PX))
    return part.pixels[top : top + _CLOSE_PX, left : left + _CLOSE_PX]


def draw_contact_sheet(seed: int) -> Pixels:
    """Draw boards (row 1), two of each defect kind (rows 2 and 3) and staged optics (rows 4 and 5).

    Args:
        seed: of the line, 0 or more.

    Returns:
        uint8 RGB.
    """
    colour = SimulatedLine(seed, defect_rate=1.0, channels=3, parts_per_family=1, defects_per_part=(5, 6))
    good = replace(colour, defect_rate=0.0)
    rows = [[_tile(good.part(number).pixels, f"family {number}") for number in range(3)]]
    rows[0] += [
        _tile(replace(good, channels=1).part(number).pixels, f"family {number}, grey") for number in range(3, 6)
    ]
    close: dict[str, list[Pixels]] = {kind: [] for kind in DEFECT_KINDS}
    for number in range(_PARTS):
        part = colour.part(number)
        for truth in part.truth:
            close[truth.kind].append(_tile(_close_up(part, truth.box), truth.kind))
    blank = np.full((_TILE_PX + 24, _TILE_PX + 4, 3), 255, np.uint8)
    rows += [[close[kind][pick] if len(close[kind]) > pick else blank for kind in DEFECT_KINDS] for pick in (0, 1)]
    staged = [_tile(replace(good, optics=optics).part(1).pixels, title) for title, optics in _STAGED]
    staged += [blank] * (12 - len(staged))
    rows += [staged[:6], staged[6:12]]
    return np.vstack([np.hstack(row) for row in rows])


def _picture_file(text: str) -> OutputFile:
    if not text.endswith((".png", ".jpg")):
        raise argparse.ArgumentTypeError(f"{text!r} is no picture's name; end it in .png or .jpg")
    return new_file(text)


def main() -> int:
    """Write the contact sheet to the file named on the command line."""
    parser = argparse.ArgumentParser(description=draw_contact_sheet.__doc__)
    parser.add_argument("file", type=_picture_file, help="PNG or JPEG to write")
    parser.add_argument("--seed", type=whole, default=4, help="same seed, same boards (default 4)")
    args = parser.parse_args()
    sheet = np.ascontiguousarray(draw_contact_sheet(args.seed)[..., ::-1])
    if args.file.path.suffix == ".png":
        _, encoded = cv2.imencode(".png", cv2.LUT(sheet, _FEW_SHADES), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    else:
        _, encoded = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 85])
    try:
        args.file.write(encoded.tobytes())
    except StorageError as error:
        return end("contact_sheet", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One box for one object, and the same way from pixels to detections for everyone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bundle.manifest import DefectClass, Geometry
from appliance.errors import BundleFormatError, ConfigError
from appliance.events import Detection, Pixels
from appliance.optics.detections import Candidates, above_floor, ious, suppress, to_detections
from appliance.optics.detector import Detector
from appliance.optics.tiles import Region, tile_grid, whole
from appliance.ports import RawDetections
from appliance.runtimes.onnx import OnnxRuntime
from tests.models import spot_detection, spot_picture, tiny_manifest, tiny_model

TWO_CLASSES = tiny_manifest(
    classes=(
        DefectClass(name="spot", severity="major", limit=0.5),
        DefectClass(name="dent", severity="minor", limit=0.5),
    )
)


def candidates(*rows: tuple[float, float, float, float, float, int]) -> Candidates:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Candidates(table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int64))


ROWS = st.lists(
    st.tuples(
        st.integers(0, 40), st.integers(0, 40), st.integers(41, 80), st.integers(41, 80),
        st.integers(0, 100).map(lambda percent: percent / 100), st.integers(0, 1),
    ),
    max_size=30,
)  # fmt: skip


@given(rows=ROWS, iou=st.sampled_from([0.3, 0.5, 0.9]))
def test_suppression_keeps_what_the_plain_algorithm_keeps(
    rows: list[tuple[float, float, float, float, float, int]], iou: float
) -> None:
    found = candidates(*rows)
    kept: list[int] = []
    for place in sorted(range(len(rows)), key=lambda row: (-found.scores[row], row)):
        rivals = [other for other in kept if found.labels[other] == found.labels[place]]
        if all(ious(found.boxes[[place]], found.boxes[[other]])[0, 0] <= iou for other in rivals):
            kept.append(place)
    left = suppress(found, iou)
    assert left.boxes.tolist() == found.boxes[kept].tolist()
    assert left.scores.tolist() == found.scores[kept].tolist()
    assert suppress(left, iou).boxes.tolist() == left.boxes.tolist()


def select(found: Candidates) -> tuple[Detection, ...]:
    outputs = TWO_CLASSES.outputs
    loud = above_floor(found.boxes, found.scores, found.labels, outputs.score_floor)
    return to_detections(suppress(loud, outputs.nms_iou), TWO_CLASSES)


def test_noise_below_the_floor_and_boxes_without_area_are_no_detections() -> None:
    found = candidates((0, 0, 8, 8, 0.049, 0), (0, 0, 8, 8, 0.05, 1), (9, 9, 9, 12, 0.9, 0), (20, 0, 28, 8, 0.7, 0))
    detections = select(found)
    assert [(item.label, round(item.score, 3), item.box) for item in detections] == [
        ("spot", 0.7, (20.0, 0.0, 28.0, 8.0)),
        ("dent", 0.05, (0.0, 0.0, 8.0, 8.0)),
    ]
    assert all(type(edge) is float for item in detections for edge in (*item.box, item.score))


def test_an_empty_answer_is_no_detection() -> None:
    found = candidates()
    assert select(found) == ()


class CountingRuntime:
    """Runs tiny_model and remembers the batches it got."""

    def __init__(self, runtime: OnnxRuntime) -> None:
        self._runtime = runtime
        self.batches: list[int] = []

    def infer(self, images: Pixels) -> RawDetections:
        self.batches.append(len(images))
        return self._runtime.infer(images)

    def describe(self) -> str:
        return self._runtime.describe()

    def close(self) -> None:
        self._runtime.close()


@pytest.fixture
def runtime() -> CountingRuntime:
    return CountingRuntime(OnnxRuntime(tiny_model(64, 64), tiny_manifest()))


class SeeingRuntime(CountingRuntime):
    """Remembers what it was shown, as it was then, and whether that was a copy of the frame."""

    def __init__(self, frame: Pixels) -> None:
        super().__init__(OnnxRuntime(tiny_model(64, 64), tiny_manifest()))
        self._frame = frame
        self.seen: list[Pixels] = []
        self.is_copied: list[bool] = []

    def infer(self, images: Pixels) -> RawDetections:
        self.seen += list(images.copy())
        self.is_copied.append(not np.shares_memory(images, self._frame))
        return super().infer(images)


@pytest.mark.parametrize(
    ("region", "overlap_px", "max_batch", "is_copied"),
    [
        (Region(0, 0, 64, 64), 0, 4, [False]),
        (Region(0, 32, 64, 64), 0, 4, [False]),
        (Region(16, 8, 64, 64), 0, 4, [True]),
        (Region(0, 0, 160, 128), 16, 4, [True, True]),
        (Region(0, 0, 160, 64), 16, 1, [True, True]),
    ],
)
def test_the_model_sees_the_pixels_of_the_frame_bit_for_bit_and_a_whole_one_where_it_lies(
    region: Region, overlap_px: int, max_batch: int, is_copied: list[bool]
) -> None:
    width = 64 if region.width_px == 64 and region.x_px == 0 else 160
    frame = np.random.default_rng(7).integers(0, 256, (128, width, 1), np.uint8)
    before = frame.copy()
    grid = tile_grid(region, tile_width_px=64, tile_height_px=64, overlap_px=overlap_px)
    runtime = SeeingRuntime(frame)
    Detector(runtime, tiny_manifest(), grid, max_batch=max_batch).detect(frame)
    for tile, seen in zip(grid.tiles, runtime.seen, strict=True):
        assert (seen == before[tile.y_px : tile.y_px + 64, tile.x_px : tile.x_px + 64]).all()
    assert runtime.is_copied[:2] == is_copied
    assert (frame == before).all()


def test_a_picture_of_the_model_s_size_is_one_inference(runtime: CountingRuntime) -> None:
    detector = Detector(runtime, tiny_manifest())
    assert detector.detect(spot_picture(64, 64)) == ()
    (found,) = detector.detect(spot_picture(64, 64, [(1, 2, 204)]))
    assert (found.label, found.box) == ("spot", spot_detection(1, 2, 204).box)
    assert found.score == pytest.approx(0.8)
    assert runtime.batches == [1, 1]


def test_a_colour_camera_serves_a_grey_model(runtime: CountingRuntime) -> None:
    (found,) = Detector(runtime, tiny_manifest()).detect(spot_picture(64, 64, [(1, 2, 204)], channels=3))
    assert found.score == pytest.approx(0.8)


def test_a_crop_s_detections_are_in_pixels_of_the_frame(runtime: CountingRuntime) -> None:
    picture = spot_picture(160, 160, [(3, 4, 255), (8, 8, 255)])
    (found,) = Detector(runtime, tiny_manifest(), whole(Region(32, 48, 64, 64))).detect(picture)
    assert found.box == (48.0, 64.0, 64.0, 80.0)


def test_letterboxed_detections_are_in_pixels_of_the_frame() -> None:
    manifest = tiny_manifest(geometry=Geometry(width=64, height=64, channels=1, fit="letterbox", pad_value=0))
    detector = Detector(OnnxRuntime(tiny_model(64, 64), manifest), manifest)
    picture = np.zeros((64, 128, 1), np.uint8)
    picture[0:32, 32:64] = 255
    (found,) = detector.detect(picture)
    assert found.box == (32.0, 0.0, 64.0, 32.0)
    assert detector.detect(np.zeros((64, 64, 1), np.uint8)) == ()


@settings(deadline=None, max_examples=25)
@given(spots=st.sets(st.tuples(st.integers(0, 19), st.integers(0, 11)), max_size=30), max_batch=st.integers(1, 9))
def test_tiles_find_each_spot_once_wherever_it_lies(spots: set[tuple[int, int]], max_batch: int) -> None:
    runtime = CountingRuntime(OnnxRuntime(tiny_model(64, 64), tiny_manifest()))
    grid = tile_grid(Region(0, 0, 320, 192), tile_width_px=64, tile_height_px=64, overlap_px=32)
    detector = Detector(runtime, tiny_manifest(), grid, max_batch=max_batch)
    # spots at least a cell apart, so that touching ones do not count as pieces of one
    apart = {(column, row) for column, row in spots if column % 2 == 0 and row % 2 == 0}
    found = detector.detect(spot_picture(320, 192, [(*spot, 230) for spot in apart]))
    assert {item.box for item in found} == {spot_detection(*spot, 230).box for spot in apart}
    assert len(found) == len(apart)
    assert sum(runtime.batches) == len(grid.tiles)
    assert max(runtime.batches) <= max_batch


def test_a_second_picture_sees_nothing_of_the_first(runtime: CountingRuntime) -> None:
    grid = tile_grid(Region(0, 0, 160, 64), tile_width_px=64, tile_height_px=64, overlap_px=16)
    detector = Detector(runtime, tiny_manifest(), grid, max_batch=2)
    assert len(detector.detect(spot_picture(160, 64, [(0, 0, 255), (9, 3, 255)]))) == 2
    assert detector.detect(spot_picture(160, 64)) == ()


def test_a_picture_that_does_not_hold_the_region_is_a_matter_of_the_recipe(runtime: CountingRuntime) -> None:
    detector = Detector(runtime, tiny_manifest(), whole(Region(32, 0, 64, 64)))
    with pytest.raises(ConfigError, match="picture of 64x64 px does not hold"):
        detector.detect(spot_picture(64, 64))


def test_a_picture_of_another_size_than_an_exact_model_s_is_refused(runtime: CountingRuntime) -> None:
    with pytest.raises(BundleFormatError, match="64x64 pictures and got 80x64"):
        Detector(runtime, tiny_manifest()).detect(spot_picture(80, 64))


def test_the_number_of_overlapping_candidates_does_not_matter() -> None:
    boxes = np.tile(np.array([[8, 8, 40, 40]], np.float32), (1000, 1))
    scores = np.linspace(0.1, 0.9, 1000, dtype=np.float32)
    (found,) = select(Candidates(boxes, scores, np.zeros(1000, np.int64)))
    assert found.score == pytest.approx(0.9)

"""Which pictures become golden: seven kinds, none whose verdict hangs on a rounding, as many as the data have."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from appliance.bundle.archive import Bundle, read_bundle, write_bundle
from appliance.bundle.golden import GoldenImage
from appliance.bundle.manifest import Geometry
from appliance.bundle.proof import prove
from appliance.optics.detector import Detector
from appliance.runtimes.onnx import OnnxRuntime
from tests.models import spot_detection, spot_picture, tiny_baseline, tiny_manifest, tiny_model, tiny_variant
from trainer.datasets.sample import Dataset, Sample, load_picture
from trainer.evaluate import BundleRunner, judge_samples
from trainer.golden import choose_golden, counted, margin, settle
from trainer.operating_point import DOUBTFUL
from trainer.stress import Robustness
from trainer.variants import Gate, Made, attempt

LIMITS = {"spot": 0.5}
BEARS = {name: Robustness(50.0, 0.9, True) for name in ("darker_percent", "brighter_percent")}
CLEAR, NEAR_ABOVE, NEAR_BELOW, TOO_NEAR = 250, 145, 112, 131


@dataclass
class Parts:
    """Pictures on disk with their truth, written one by one; tiny_model finds each spot with score grey / 255."""

    folder: Path
    samples: list[Sample]

    def add(
        self, grey: int | None, group: str = "a", *, is_good: bool = False, box_px: int = 16, background: int = 60
    ) -> None:
        spots = [] if grey is None else [(1, 2, grey)]
        path = self.folder / f"{len(self.samples)}.png"
        picture = spot_picture(64, 64, spots, background=background)
        picture[:8, :8] += np.random.default_rng(len(self.samples)).integers(0, 8, (8, 8, 1), dtype=np.uint8)
        cv2.imwrite(str(path), picture)
        boxes = np.array([] if is_good else [[16, 32, 16 + box_px, 32 + box_px]], np.float32).reshape(-1, 4)
        self.samples.append(Sample(path, boxes, np.zeros(len(boxes), np.int64), group, is_good))

    def dataset(self) -> Dataset:
        return Dataset(("spot",), tuple(self.samples))

    def golden(self, wanted: int = 14, borne: dict[str, Robustness] | None = None) -> list[GoldenImage]:
        runner = BundleRunner(tiny_model(64, 64), tiny_manifest())
        judged, _ = judge_samples(runner, self.dataset(), is_quiet=True)
        return choose_golden(self.dataset(), judged, runner, wanted, borne)


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path, [])


@pytest.fixture
def many(parts: Parts) -> Parts:
    """Parts of all kinds in three groups."""
    for group in ("a", "b", "c"):
        for _ in range(3):
            parts.add(CLEAR, group)
            parts.add(None, group, is_good=True)
        parts.add(NEAR_ABOVE, group)
        parts.add(NEAR_BELOW, group, is_good=True)
        parts.add(CLEAR - 10, group, box_px=4)
        parts.add(CLEAR - 20, group, background=20)
        parts.add(None, group, is_good=True, background=95)
    return parts


def of(kind: str, images: Sequence[GoldenImage]) -> list[GoldenImage]:
    return [image for image in images if image.kind == kind]


def test_all_kinds_come_in_turn_and_are_what_they_are_called(many: Parts) -> None:
    images = many.golden()
    assert [image.kind for image in images[:7]] == [
        "clear_bad", "clear_good", "near_limit", "small", "dark", "bright", "empty",
    ]  # fmt: skip
    assert all(margin(image.detections, LIMITS) > 0.4 for image in of("clear_bad", images))
    assert all(not image.detections for image in [*of("clear_good", images), *of("empty", images)])
    assert [image.detections[0].score * 255 for image in of("small", images)] == [pytest.approx(CLEAR - 10)] * 3
    assert all(image.pixels().mean() < 45 for image in of("dark", images))
    assert all(image.pixels().mean() > 80 for image in of("bright", images))
    assert np.ptp(of("empty", images)[0].pixels()) == 0


def test_near_the_limit_is_on_both_sides_of_it_and_as_near_as_may_be(many: Parts) -> None:
    scores = {round(image.detections[0].score * 255) for image in of("near_limit", many.golden())}
    assert scores == {NEAR_ABOVE, NEAR_BELOW}


@pytest.mark.parametrize("has_reference", [False, True])
def test_defects_are_made_fainter_where_the_model_is_sure_of_every_picture(parts: Parts, has_reference: bool) -> None:
    parts.add(None, is_good=True)
    for _ in range(6):
        parts.add(CLEAR)
    if has_reference:
        sound = parts.samples[0].image
        parts.samples = [replace(sample, reference=sound) for sample in parts.samples]
    near = of("near_limit", parts.golden())
    far = [margin(image.detections, LIMITS) for image in near]
    assert {each > 0 for each in far} == {True, False}
    assert all(DOUBTFUL < abs(each) <= 0.25 for each in far)


def test_the_groups_take_turns(many: Parts) -> None:
    used = [image.png for image in many.golden(9)]
    pictures = {load_picture(sample.image, 1).tobytes(): sample.group for sample in many.samples}
    groups = [pictures[pixels] for png in used if (pixels := GoldenImage(png, ()).pixels().tobytes()) in pictures]
    assert {group: groups.count(group) for group in groups}.keys() == {"a", "b", "c"}
    assert max(map(groups.count, groups)) - min(map(groups.count, groups)) <= 1


def test_no_golden_verdict_hangs_on_a_rounding(parts: Parts) -> None:
    for grey in range(122, 140):
        parts.add(grey)
    parts.add(CLEAR)
    parts.add(None, is_good=True)
    images = parts.golden(14, BEARS)
    assert len(of("clear_bad", images)) == 1
    assert all(abs(margin(image.detections, LIMITS)) > DOUBTFUL for image in images)


def test_the_same_data_give_the_same_golden_images(many: Parts) -> None:
    assert many.golden(14, BEARS) == many.golden(14, BEARS)


def test_data_of_one_brightness_are_darkened_and_brightened_by_what_the_model_bears(parts: Parts) -> None:
    for number in range(6):
        parts.add(CLEAR, is_good=False)
        parts.add(None, is_good=True, group=str(number))
    assert not of("dark", parts.golden())
    images = parts.golden(14, BEARS)
    usual = 60
    # the model bears half as much light; no lamp fails by more than 30 % unseen
    assert {round(float(np.median(image.pixels())) / usual, 1) for image in of("dark", images)} == {0.7}
    assert {round(float(np.median(image.pixels())) / usual, 1) for image in of("bright", images)} == {1.3}


def test_few_pictures_give_as_many_as_there_are(parts: Parts) -> None:
    parts.add(CLEAR)
    parts.add(None, is_good=True)
    assert counted(parts.golden(32)) == {"clear_bad": 1, "clear_good": 1, "near_limit": 1, "empty": 1}


def test_where_every_verdict_hangs_on_a_rounding_there_are_golden_images_all_the_same(parts: Parts) -> None:
    for _ in range(6):
        parts.add(TOO_NEAR)
    images = parts.golden(4)
    assert counted(images) == {"empty": 1, "other": 3}
    assert all(image.detections for image in images[1:])


def test_a_large_picture_is_cut_around_what_decides(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), spot_picture(320, 256, [(19, 15, CLEAR)]))
    sample = Sample(path, np.array([[304, 240, 320, 256]], np.float32), np.zeros(1, np.int64), "a", False)
    runner = BundleRunner(tiny_model(64, 64), tiny_manifest())
    dataset = Dataset(("spot",), (sample,))
    judged, _ = judge_samples(runner, dataset, is_quiet=True)
    image = of("clear_bad", choose_golden(dataset, judged, runner, 4))[0]
    assert image.pixels().shape == (64, 64, 1)
    assert (image.pixels() == CLEAR).sum() == 16 * 16


def test_small_pictures_stay_whole(tmp_path: Path) -> None:
    manifest = tiny_manifest(geometry=Geometry(width=64, height=64, channels=1, fit="pad", pad_value=60))
    path = tmp_path / "small.png"
    cv2.imwrite(str(path), spot_picture(48, 48, [(1, 1, CLEAR)]))
    sample = Sample(path, np.array([[16, 16, 32, 32]], np.float32), np.zeros(1, np.int64), "a", False)
    runner = BundleRunner(tiny_model(64, 64), manifest)
    dataset = Dataset(("spot",), (sample,))
    judged, _ = judge_samples(runner, dataset, is_quiet=True)
    assert choose_golden(dataset, judged, runner, 4)[0].pixels().shape == (48, 48, 1)


def near(grey: int) -> GoldenImage:
    return GoldenImage.from_pixels(spot_picture(64, 64, [(1, 1, grey)]), (spot_detection(1, 1, grey),), "near_limit")


def weaker() -> bytes:
    """A model whose scores are 7 % lower."""
    model = onnx.load_from_string(tiny_model(64, 64))
    scale = next(each for each in model.graph.initializer if each.name == "scale")
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(0.93), "scale"))
    return model.SerializeToString()


def test_an_image_goes_that_a_model_with_fewer_bits_decides_otherwise_or_hardly_or_far_off(parts: Parts) -> None:
    """The other model's scores are 7 % lower: 0.588 becomes 0.547, 0.510 becomes 0.474, 0.980 becomes 0.912."""
    pool = [near(150), near(130), near(250), near(160), GoldenImage.from_pixels(spot_picture(64, 64), (), "clear_good")]
    bundle = write_bundle(
        parts.folder / "t.bundle",
        tiny_manifest().with_variants({"fp16": tiny_variant()}),
        model_onnx=tiny_model(64, 64),
        golden=pool,
        baseline=tiny_baseline(),
        model_card="# t\n",
        variants={"fp16": weaker()},
    )
    assert settle(pool, bundle, 9) == pool[3:]
    assert settle(pool, bundle, 1) == pool[3:4]
    assert settle(pool, replace(bundle, variants={}), 9) == pool


@pytest.mark.parametrize(
    ("greys", "is_taken"), [((160, 165, 250), True), ((160, 240, 245, 250), False), ((250,), False)]
)
def test_one_image_in_three_may_go_for_a_model_with_fewer_bits_and_no_kind(
    parts: Parts, greys: tuple[int, ...], is_taken: bool
) -> None:
    for grey in (160, None):
        parts.add(grey, is_good=grey is None)
    good = GoldenImage.from_pixels(spot_picture(64, 64), (), "clear_good")
    runner = BundleRunner(tiny_model(64, 64), tiny_manifest())
    judged, _ = judge_samples(runner, parts.dataset(), is_quiet=True)
    golden = (*map(near, greys), *[good] * 3)
    base = Bundle(tiny_manifest(), tiny_model(64, 64), golden, tiny_baseline(), "", "")
    made = attempt(Gate(base, parts.dataset(), judged), "fp16", weaker(), "conversion", (), ())
    if is_taken:
        assert isinstance(made, Made)
        assert made.is_lacking
    else:
        assert "on the golden images it finds other things" in str(made)


def test_a_device_as_far_off_as_its_tolerance_allows_judges_every_golden_image_alike(many: Parts) -> None:
    """Scores that are off by all that the manifest allows turn no verdict, so an honest device is never refused."""
    path = many.folder / "t.bundle"
    manifest = tiny_manifest()
    golden = many.golden()[:14]
    write_bundle(
        path, manifest, model_onnx=tiny_model(64, 64), golden=golden, baseline=tiny_baseline(), model_card="# t\n"
    )
    bundle = read_bundle(path)
    assert [image.kind for image in bundle.golden] == [image.kind for image in golden]
    detect = Detector(OnnxRuntime(bundle.model_onnx, bundle.manifest), bundle.manifest).detect
    prove(bundle, detect, latency_budget_ms=1000.0)  # refuses nothing
    most = manifest.tolerance.max_score_difference
    for image in bundle.golden:
        best = margin(image.detections, LIMITS)
        assert {best + off > 0 for off in (-most, most)} == {best > 0}

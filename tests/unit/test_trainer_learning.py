import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.errors import ConfigError
from tests.processes import wait_for_moment
from tests.tiny_boards import write_tiny_boards
from trainer.augment import Augment, crop_boxes
from trainer.checkpoint import Checkpoint, averaged_net, load_checkpoint, save_checkpoint
from trainer.datasets.copper import COPPER
from trainer.datasets.reading import read_dataset
from trainer.datasets.sample import Dataset, Sample
from trainer.datasets.split import Split, split_by_group
from trainer.learner import as_input
from trainer.loss import assign, detection_loss, paired_iou
from trainer.model import PAD_VALUE, Net, cell_centres, decode_boxes
from trainer.pictures import Pictures, repeat_factors
from trainer.plan import Plan
from trainer.resume import beginning, differences
from trainer.sizes import TABLE, NetShape, SizeName
from trainer.strengths import Strengths
from trainer.train import one_cycle, train
from trainer.validate import pad

pytestmark = pytest.mark.long

TINY = Plan(epochs=3, batch=4, side_px=64, width=8, threads=1, validate_every=10, seed=3)


def _split(folder: Path) -> Split:
    return split_by_group(read_dataset(write_tiny_boards(folder)), ("family0",))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), x=st.integers(0, 140), y=st.integers(0, 140), grow=st.sampled_from([1.0, 1.4]))
@example(seed=149440, x=0, y=0, grow=1.0)  # a bright speck of dust would be taken for the defect
def test_a_box_still_frames_its_defect_after_augmentation(seed: int, x: int, y: int, grow: float) -> None:
    picture = np.full((160, 160, 1), 100, np.uint8)
    picture[y : y + 20, x : x + 16] = 255
    boxes = np.array([[x, y, x + 16, y + 20]], np.float32)
    augment = Augment(96, replace(Strengths(), scale_percent=100 * (grow - 1), shadow_percent=0.0, dust_px=0.0))
    image, found, labels = augment(picture, boxes, np.array([4]), np.random.default_rng(seed))
    assert image.shape == (96, 96, 1)
    bright = np.argwhere(image[:, :, 0] > image.min() / 2 + image.max() / 2)
    if len(found) and image.max() > image.min() + 60:
        x1, y1, x2, y2 = found[0]
        assert labels.tolist() == [4]
        assert np.abs(np.array([bright[:, 1].min(), bright[:, 0].min()]) - (x1, y1)).max() <= 3
        assert np.abs(np.array([bright[:, 1].max(), bright[:, 0].max()]) + 1 - (x2, y2)).max() <= 3


def test_the_same_generator_gives_the_same_crop() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (160, 160, 3), dtype=np.uint8)
    augment = Augment(96)
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    first = augment(picture, *nothing, np.random.default_rng((1, 2)))[0]
    augment(picture, *nothing, np.random.default_rng((1, 3)))
    again = augment(picture, *nothing, np.random.default_rng((1, 2)))[0]
    assert np.array_equal(first, again)


def test_only_crops_of_copper_get_painted_defects() -> None:
    picture = np.full((128, 128, 1), 255, np.uint8)
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    counts = []
    for copper in (None, COPPER):
        augment = Augment(96, replace(Strengths(), scale_percent=0), copper)
        counts.append([len(augment(picture, *nothing, np.random.default_rng(seed))[2]) for seed in range(40)])
    assert sum(counts[0]) == 0
    assert 0 < sum(count > 0 for count in counts[1]) < 40


def test_a_defect_larger_than_the_crop_is_no_background() -> None:
    boxes = np.array([[0, 10, 400, 14], [0, 0, 90, 300]], np.float32)
    kept, labels = crop_boxes(boxes, np.array([0, 1]), left=60, top=0, side=96)
    assert labels.tolist() == [0, 1]
    assert kept.tolist() == [[0, 10, 96, 14], [0, 0, 30, 96]]


def test_crops_of_a_defect_larger_than_they_are_show_all_of_it() -> None:
    picture = np.zeros((96, 1000, 1), np.uint8)
    picture[:, :, 0] = np.arange(1000) // 4
    augment = Augment(96, Strengths().times(0))
    seen = set()
    for seed in range(60):
        crop, *_ = augment(picture, np.array([[50, 20, 950, 60]]), np.array([0]), np.random.default_rng(seed))
        seen |= set(np.unique(crop // 25).tolist())
    assert seen >= set(range(1, 9))


def test_a_box_of_which_too_little_is_left_goes() -> None:
    boxes = np.array([[0, 0, 10, 10], [6, 0, 16, 10], [30, 30, 40, 40]], np.float32)
    kept, labels = crop_boxes(boxes, np.array([0, 1, 2]), left=8, top=0, side=32)
    assert labels.tolist() == [1]
    assert kept.tolist() == [[0, 0, 8, 10]]


def test_a_cell_owns_the_nearest_defect_whose_box_holds_it() -> None:
    boxes = torch.tensor([[[8.0, 8.0, 40.0, 40.0], [24.0, 8.0, 56.0, 40.0], [0.0, 0.0, 0.0, 0.0]]])
    owner = assign(cell_centres(64, 64), boxes, torch.tensor([[2, 1, -1]])).reshape(8, 8)
    assert owner[2, 2] == 0
    assert owner[2, 5] == 1
    assert owner[7, 7] == -1
    assert owner[0, 0] == -1
    assert set(owner.reshape(-1).tolist()) == {-1, 0, 1}


def test_iou_and_giou_of_known_boxes() -> None:
    first = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 10], [0.0, 0, 10, 10]])
    second = torch.tensor([[0.0, 0, 10, 10], [5.0, 0, 15, 10], [20.0, 0, 30, 10]])
    iou, giou = paired_iou(first, second)
    assert iou.tolist() == pytest.approx([1.0, 1 / 3, 0.0])
    assert giou.tolist() == pytest.approx([1.0, 1 / 3, -1 / 3])


def test_boxes_are_decoded_around_their_cells() -> None:
    box = decode_boxes(torch.log(torch.tensor([1.0, 2.0, 3.0, 0.5])), torch.tensor([100.0, 50.0]))
    assert box.tolist() == pytest.approx([92.0, 34.0, 124.0, 54.0])


def test_a_perfect_answer_costs_little_and_a_wrong_class_much() -> None:
    boxes, labels = torch.tensor([[[8.0, 8.0, 40.0, 40.0]]]), torch.tensor([[1]])
    centres = cell_centres(64, 64)
    owner = assign(centres, boxes, labels)[0]
    edges = torch.cat((centres - boxes[0, 0, :2], boxes[0, 0, 2:] - centres), dim=1) / 8
    distances = edges.clamp(min=0.05).log().T.reshape(1, 4, 8, 8)
    logits = torch.full((1, 2, 64), -12.0)
    logits[0, 1, owner >= 0] = 12.0
    good = detection_loss(logits.reshape(1, 2, 8, 8), distances, boxes, labels)
    bad = detection_loss(logits.flip(1).reshape(1, 2, 8, 8), distances, boxes, labels)
    assert good.total < 0.01
    assert bad.score > 10
    assert bad.box == pytest.approx(float(good.box))


def test_a_batch_without_defects_has_a_finite_loss_with_gradients() -> None:
    net = Net(NetShape(1, 2, 8))
    logits, distances = net(torch.zeros(2, 1, 64, 64))
    losses = detection_loss(logits, distances, torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64))
    losses.total.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(losses.total)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in net.parameters())


def test_the_loss_falls_on_one_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, boxes, labels = next(iter(Pictures(_split(tmp_path).train, TINY).batches(0)))
    net = Net(NetShape(1, 2, 8))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(50):
        logits, distances = net(as_input(images))
        total = detection_loss(logits, distances, boxes, labels).total
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(total.detach()))
    assert losses[-1] < 0.5 * losses[0], losses


def test_an_epoch_holds_the_wanted_share_of_good_parts(tmp_path: Path) -> None:
    train_half = _split(tmp_path).train
    pictures = Pictures(train_half, Plan(epochs=1, batch=4, side_px=64, good_share=0.5, threads=1))
    assert pictures.steps == 3
    batches = list(pictures.batches(0))
    assert len(batches) == 3
    assert all(images.shape == (4, 64, 64, 1) for images, _, _ in batches)
    assert not torch.equal(batches[0][0], next(iter(pictures.batches(1)))[0])


def test_pictures_of_rare_classes_are_shown_more_often() -> None:
    boxes = np.array([[0, 0, 9, 9]], np.float32)
    labels = [0] * 40 + [1] * 40 + [2] * 10
    samples = [Sample(Path("p"), boxes, np.array([label]), "g", is_good=False) for label in labels]
    good = Sample(Path("p"), boxes[:0], np.zeros(0, np.int64), "g", is_good=True)
    factors = repeat_factors(Dataset(("a", "b", "c"), (*samples, good)))
    assert set(factors[:80]) == {1.0}
    assert set(factors[80:90]) == {2.0}
    assert factors[90] == 1.0


def test_rare_sizes_of_defect_are_shown_more_often_up_to_a_limit() -> None:
    sides = [20] * 36 + [50] * 36 + [120] * 9
    samples = [
        Sample(Path("p"), np.array([[0, 0, side, side]], np.float32), np.array([0]), "g", is_good=False)
        for side in sides
    ]
    assert repeat_factors(Dataset(("a",), tuple(samples))).tolist() == [1.0] * 72 + [2.0] * 9
    assert repeat_factors(Dataset(("a",), tuple(samples[:73]))).max() == 3.0


def test_a_crop_larger_than_the_pictures_is_filled_up(tmp_path: Path) -> None:
    images, boxes, _ = next(Pictures(_split(tmp_path).train, Plan(epochs=1, side_px=192)).batches(0))
    assert images.shape[1:3] == (192, 192)
    assert boxes.min() >= 0
    assert boxes.max() <= 192
    grey = images[..., 0].int()
    assert ((grey - PAD_VALUE).abs() < 60).float().mean() > 0.5


@pytest.mark.parametrize("plan", [Plan(epochs=1, budget_minutes=1.0), Plan(epochs=1, side_px=100)])
def test_an_impossible_plan_is_refused(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--"):
        train(_split(tmp_path), plan, tmp_path / "run")


@given(st.floats(0.001, 0.5))
def test_the_rate_rises_and_then_falls_to_its_last(last: float) -> None:
    rates = [one_cycle(done, last) for done in np.linspace(0, 1, 101)]
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(1.0, abs=0.02)
    assert np.all(np.diff(rates[: peak + 1]) > 0)
    assert np.all(np.diff(rates[peak:]) < 0)
    assert rates[-1] == pytest.approx(last)


def test_the_last_steps_of_a_training_are_at_a_tenth_of_its_rate(tmp_path: Path) -> None:
    plan = Plan(epochs=8, batch=4, side_px=32, width=8)
    train(_split(tmp_path), plan, tmp_path / "run")
    ended = load_checkpoint(tmp_path / "run" / "last.pt").optimizer
    rates = {group["lr"] for one in ended.values() for group in one["param_groups"]}
    assert len(rates) == 1
    assert 0.1 < rates.pop() / plan.rate < 0.12


def test_a_picture_is_padded_only_where_it_must_be() -> None:
    picture = np.zeros((64, 96, 1), np.uint8)
    assert pad(picture) is picture
    padded = pad(np.zeros((65, 96, 1), np.uint8))
    assert padded.shape == (96, 96, 1)
    assert padded[64].max() == 0
    assert padded[65].min() == 114


def test_a_run_is_not_overwritten_and_not_resumed_with_other_options(tmp_path: Path) -> None:
    split = _split(tmp_path / "data")
    train(split, Plan(epochs=1, batch=4, side_px=64, width=8, threads=1), tmp_path / "run")
    with pytest.raises(ConfigError, match="--resume"):
        train(split, Plan(epochs=1, batch=4, side_px=64, width=8, threads=1), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"was made with --epochs 1 \(now 2\), --seed 0 \(now 5\); repeat"):
        train(split, Plan(epochs=2, batch=4, side_px=64, width=8, seed=5), tmp_path / "run", resume=True)


def test_each_option_that_differs_is_named_with_both_values() -> None:
    plans = Plan(budget_minutes=2.0, side_px=64, workers=2, detail=8), Plan(epochs=4, reference=True, workers=3)
    found, asked = (Checkpoint(asdict(plan), NetShape(1, 2, 8), ("a", "b")) for plan in plans)
    assert differences(found, asked) == [
        "--budget-minutes 2.0 (now not given)",
        "8 channels at stride 4 (now 16; no option changes that)",
        "--epochs not given (now 4)",
        "--reference no (now yes)",
        "--crop 64 (now 320)",
        "--workers 2 (now 3, or as many processes)",
    ]
    assert differences(found, replace(found, classes=("a", "c"))) == ["the classes a, b (now a, c)"]
    nano, small = (replace(found, plan=asdict(Plan()) | asdict(TABLE[size])) for size in ("nano", "small"))
    assert differences(nano, small) == ["--size nano (now small)"]


def test_of_many_held_out_groups_the_ones_that_differ_are_told_first(tmp_path: Path) -> None:
    groups = tuple(f"g{number:02d}" for number in range(30))
    found, asked = (Checkpoint({}, NetShape(1, 2, 8), ("a", "b"), holdout=held) for held in (groups[:-1], groups[1:]))
    save_checkpoint(tmp_path / "last.pt", found)
    with pytest.raises(
        ConfigError, match=r"held out g00, .* and 21 more, and now it would be g29, .* and 21 more; "
    ) as it:
        beginning(tmp_path, asked)
    assert len(str(it.value)) - len(str(tmp_path)) < 220


def test_a_damaged_checkpoint_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    for content in (b"", b"junk", b"PK\x03\x04junk"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"last\.pt"):
            load_checkpoint(path)
    with pytest.raises(ConfigError, match="train first"):
        load_checkpoint(tmp_path / "missing.pt")


def test_the_usual_net_is_the_smallest() -> None:
    nano = TABLE["nano"]
    assert Plan().shape(2) == NetShape(1, 2) == NetShape(1, 2, nano.width, nano.depth, nano.detail)


@pytest.mark.parametrize(("size", "millions"), [("nano", 0.20), ("small", 0.46), ("base", 1.20)])
def test_a_size_has_the_parameters_that_are_documented(size: SizeName, millions: float) -> None:
    net = Net(NetShape(1, 6, TABLE[size].width, TABLE[size].depth, TABLE[size].detail))
    assert sum(parameter.numel() for parameter in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
    with torch.inference_mode():
        logits, distances = net.eval()(torch.zeros(1, 1, 96, 64))
    assert (logits.shape, distances.shape) == ((1, 6, 12, 8), (1, 4, 12, 8))


def test_weights_of_another_net_are_refused() -> None:
    state = Checkpoint({}, NetShape(1, 2, 8), ("a", "b"), average=Net(NetShape(1, 2, 16)).state_dict())
    with pytest.raises(ConfigError, match="another version"):
        averaged_net(state, Path("final.pt"))


_KILLED_RUN = """
import sys
from pathlib import Path
from tests.unit.test_trainer_learning import TINY, _split
from trainer.train import train
train(_split(Path(sys.argv[1])), TINY, Path(sys.argv[2]))
"""


def _losses(run: Path) -> dict[int, set[float]]:
    """Epoch -> its loss; more than one if an epoch that was learned twice came out otherwise."""
    found: dict[int, set[float]] = {}
    for entry in map(json.loads, (run / "log.jsonl").read_text().splitlines()):
        found.setdefault(entry["epoch"], set()).add(entry["loss"])
    return found


def test_a_killed_and_resumed_run_has_the_same_losses_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    split = _split(tmp_path / "data")
    figures = train(split, TINY, tmp_path / "whole")
    command = [sys.executable, "-c", _KILLED_RUN, str(tmp_path / "data"), str(tmp_path / "killed")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(Path.cwd())})
    try:
        wait_for_moment(process, (tmp_path / "killed" / "last.pt").is_file)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert load_checkpoint(tmp_path / "killed" / "last.pt").epoch < 3, "killed too late to show anything"
    resumed = train(split, TINY, tmp_path / "killed", resume=True)
    first, second = (load_checkpoint(tmp_path / name / "final.pt") for name in ("whole", "killed"))
    assert first.step == second.step
    for name, weights in first.average.items():
        assert torch.equal(weights, second.average[name]), name
    assert resumed == figures
    assert _losses(tmp_path / "killed") == _losses(tmp_path / "whole")
    assert [len(losses) for losses in _losses(tmp_path / "whole").values()] == [1, 1, 1]


def test_a_defect_taken_for_another_kind_costs_more_though_each_class_alone_is_nearly_right() -> None:
    boxes, labels = torch.tensor([[[8.0, 8.0, 24.0, 24.0]]]), torch.tensor([[1]])
    distances = torch.zeros((1, 4, 4, 4))
    right, wrong = torch.full((1, 3, 4, 4), -4.0), torch.full((1, 3, 4, 4), -4.0)
    right[:, 1], right[:, 2] = 0.2, 0.0
    wrong[:, 1], wrong[:, 2] = 0.0, 0.2
    told, mistaken = (detection_loss(logits, distances, boxes, labels) for logits in (right, wrong))
    assert float(mistaken.kind) > float(told.kind)
    exact = torch.nn.functional.cross_entropy(right[:, :, 0, 0], torch.tensor([1]))
    assert float(told.kind) == pytest.approx(float(exact), rel=1e-5), "the mean over the cells that own the defect"


def test_a_single_kind_has_nothing_to_be_told_from() -> None:
    boxes, labels = torch.tensor([[[8.0, 8.0, 24.0, 24.0]]]), torch.tensor([[0]])
    losses = detection_loss(torch.randn(1, 1, 4, 4), torch.zeros(1, 4, 4, 4), boxes, labels)
    assert float(losses.kind) == 0.0

"""Generated surfaces are what they say they are, and what is learned from them fits every net that begins with it."""

import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from appliance.errors import ConfigError, DeviceError
from tests.nets import learned_net
from tests.tiny_boards import write_tiny_boards
from trainer.__main__ import main
from trainer.backbone import SHIPPED, adapted, adopt, find_backbone, pack, shipped_file
from trainer.checkpoint import Checkpoint
from trainer.learner import Learner
from trainer.model import PAD_VALUE, Net
from trainer.pretrain import Pretraining, Taught, pretraining_loss
from trainer.sizes import NetShape
from trainer.surfaces.sample import BOX_MARGIN_PX, CLASSES, LEAST_BOX_PX, SurfaceSample, generate
from trainer.surfaces.stream import Batch, Surfaces, coarse, stream
from trainer.team import Team
from trainer.threads import usable_cores
from trainer.turned import plain

SHAPE = NetShape(channels=2, classes=3)


def test_a_sample_is_the_same_whenever_it_is_drawn() -> None:
    first, again, other = generate(3, 7), generate(3, 7), generate(3, 8)
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.pixels, other.pixels)


def test_a_picture_does_not_depend_on_whether_it_has_a_reference() -> None:
    with_one, without = (generate(3, 7, has_reference=has) for has in (True, False))
    assert np.array_equal(with_one.pixels[:, :, 0], without.pixels[:, :, 0])
    assert (without.pixels[:, :, 1] == PAD_VALUE).all()
    assert with_one.pixels[:, :, 1].std() > 0


@settings(max_examples=60, deadline=None)
@given(index=st.integers(0, 2**40), side=st.sampled_from([128, 256]))
def test_each_box_frames_what_was_planted_and_nothing_was_planted_outside(index: int, side: int) -> None:
    sample = generate(0, index, side)
    assert sample.pixels.shape == (side, side, 2)
    assert len(sample.boxes) == len(sample.labels)
    left = sample.mask.copy()
    for (x1, y1, x2, y2), label in zip(sample.boxes.astype(int), sample.labels, strict=True):
        assert 0 <= x1 < x2 <= side
        assert 0 <= y1 < y2 <= side
        inside = sample.mask[y1:y2, x1:x2]
        _, _, width, height = cv2.boundingRect((inside == 1 + label).astype(np.uint8))
        assert (x2 - x1) - width <= max(2 * BOX_MARGIN_PX, LEAST_BOX_PX)
        assert (y2 - y1) - height <= max(2 * BOX_MARGIN_PX, LEAST_BOX_PX)
        assert set(np.unique(inside)) <= {0, 1 + label}
        left[y1:y2, x1:x2] = 0
    assert not left.any()


@pytest.fixture(scope="module")
def samples() -> list[SurfaceSample]:
    return [generate(1, index, has_reference=True) for index in range(250)]


def test_every_class_and_material_occurs_and_a_third_is_sound(samples: list[SurfaceSample]) -> None:
    assert {label for sample in samples for label in sample.labels.tolist()} == set(range(len(CLASSES)))
    assert {sample.material for sample in samples} == {"metal", "ceramic", "plastic", "fabric", "board"}
    assert 0.22 < np.mean([len(sample.labels) == 0 for sample in samples]) < 0.45
    assert 0.4 < np.mean([(generate(1, index).pixels[:, :, 1] == PAD_VALUE).all() for index in range(100)]) < 0.6


def _difference(sample: SurfaceSample) -> np.ndarray:
    """How far each pixel is outside of what its reference shows within 2 pixels, light set aside; grey values."""
    picture, reference = (cv2.GaussianBlur(sample.pixels[:, :, i], (0, 0), 2).astype(np.float32) for i in (0, 1))
    picture = picture - cv2.GaussianBlur(picture, (0, 0), 24)
    reference = reference - cv2.GaussianBlur(reference, (0, 0), 24)
    scale = np.clip(picture.std() / max(float(reference.std()), 1e-3), 0.5, 2)
    square = np.ones((5, 5), np.uint8)
    low, high = cv2.erode(reference * scale, square), cv2.dilate(reference * scale, square)
    return np.maximum(np.maximum(low - picture, picture - high), 0)


def test_where_nothing_is_planted_the_reference_shows_the_same(samples: list[SurfaceSample]) -> None:
    sound = [_difference(sample) for sample in samples if not len(sample.labels)]
    assert np.mean([(difference > 15).mean() for difference in sound]) < 0.01
    strange = samples[0].pixels.copy()
    strange[:, :, 1] = samples[1].pixels[:, :, 1]
    other = SurfaceSample(strange, samples[0].boxes, samples[0].labels, samples[0].mask, "")
    assert (_difference(other) > 15).mean() > 0.2  # what the measure says of a wrong reference


def test_what_is_planted_is_not_in_the_reference(samples: list[SurfaceSample]) -> None:
    shares = []
    for sample in samples:
        for x1, y1, x2, y2 in sample.boxes.astype(int):
            pair = [cv2.equalizeHist(np.ascontiguousarray(sample.pixels[:, :, i])) for i in (0, 1)]
            apart = cv2.absdiff(cv2.blur(pair[0], (3, 3)), cv2.blur(pair[1], (3, 3)))
            shares.append(np.quantile(apart[y1:y2, x1:x2], 0.9) > np.median(apart))
    assert np.mean(shares) > 0.97


def test_a_batch_is_padded_and_its_masks_become_coarse() -> None:
    pixels, boxes, labels, masks = Surfaces(seed=5, steps=4, batch=6, side_px=128)[2]
    alone = [generate(5, 12 + place, 128) for place in range(6)]
    assert pixels.shape == (6, 128, 128, 2)
    assert boxes.shape[:2] == labels.shape
    assert [row[row >= 0].tolist() for row in labels] == [sample.labels.tolist() for sample in alone]
    assert masks.shape == (6, 32, 32)
    assert [set(np.unique(mask)) for mask in masks] == [set(np.unique(sample.mask)) for sample in alone]
    dot = np.zeros((8, 8), np.uint8)
    dot[5, 2] = 3
    assert coarse(dot).tolist() == [[0, 0], [3, 0]]


def test_the_net_learns_where_what_lies_beside_the_boxes() -> None:
    torch.manual_seed(0)
    taught = Taught(NetShape(2, len(CLASSES), 8))
    pixels, boxes, labels, _ = Surfaces(seed=5, steps=1, batch=2, side_px=128)[0]
    nothing = torch.zeros((2, 32, 32), dtype=torch.uint8)
    trunk, said = taught.net.stem[0].weight, taught.shades.bias
    losses, ways = [], []
    for mask in (nothing + 1, nothing):
        taught.zero_grad()
        loss = pretraining_loss(taught, [pixels, boxes, labels, mask])
        loss.backward()  # type: ignore[no-untyped-call]
        assert trunk.grad is not None
        ways.append(trunk.grad.clone())
        with torch.no_grad():
            said[:4] += 10.0  # "nothing" in each quarter
            losses.append(float(pretraining_loss(taught, [pixels, boxes, labels, mask])) - float(loss))
            said[:4] -= 10.0
    assert not torch.allclose(ways[0], ways[1])  # what the masks show moves the net below both heads
    assert losses[1] < 0 < losses[0]


class _Deadly(Surfaces):
    def __getitem__(self, number: int) -> Batch:
        if number == 0:
            os._exit(1)
        return super().__getitem__(number)


def test_a_process_that_dies_is_told_in_words() -> None:
    with pytest.raises(DeviceError, match="a process that makes pictures has died"):
        list(stream(_Deadly(0, 3, 2, 128), workers=1, is_pinned=False))


def _adapted_net(source: Net, channels: int) -> Net:
    net = Net(NetShape(channels, source.shape.classes, source.shape.width))
    net.load_state_dict(adapted(source.state_dict(), channels), strict=False)  # of looking around it knows nothing
    return net.eval()


@torch.no_grad()
def test_a_constant_reference_is_folded_exactly_inside_the_picture() -> None:
    source = learned_net(SHAPE)
    grey = torch.rand(1, 1, 96, 96)
    constant = torch.full_like(grey, PAD_VALUE / 255.0)
    both = source.stem(torch.cat((grey, constant), dim=1))
    folded = _adapted_net(source, 1).stem(grey)
    inside = (..., slice(2, -2), slice(2, -2))
    assert torch.allclose(both[inside], folded[inside], atol=1e-5)
    plain = source.state_dict() | {"stem.0.weight": source.state_dict()["stem.0.weight"][:, :1]}
    unfolded = Net(NetShape(1, SHAPE.classes))
    unfolded.load_state_dict(plain, strict=False)
    assert not torch.allclose(both[inside], unfolded.eval().stem(grey)[inside], atol=1e-2)


@torch.no_grad()
def test_a_grey_picture_in_three_channels_gives_what_one_gives() -> None:
    source = learned_net(SHAPE)
    grey, reference = torch.rand(2, 1, 1, 96, 96)
    pairs = [
        (_adapted_net(source, 3)(grey.repeat(1, 3, 1, 1)), _adapted_net(source, 1)(grey)),
        (
            _adapted_net(source, 6)(torch.cat((grey.repeat(1, 3, 1, 1), reference.repeat(1, 3, 1, 1)), dim=1)),
            source(torch.cat((grey, reference), dim=1)),
        ),
    ]
    for found, expected in pairs:
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, expected, strict=True))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "backbone.safetensors"
    path.write_bytes(pack(learned_net(SHAPE), {"seed": 0, "licence": "Apache-2.0"}))
    return path


def _digest(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_written_is_read_again_and_the_class_head_is_drawn_anew(file: Path) -> None:
    found, words = find_backbone(str(file), _digest(file), NetShape(2, 7))
    assert found is not None
    assert str(found) in words
    assert str(found) == f"backbone.safetensors {_digest(file)}"
    net = Net(NetShape(2, 7))
    drawn = net.class_head.weight.clone()
    adopt(net, found)
    source, state = learned_net(SHAPE).state_dict(), net.state_dict()
    for name in state:
        if not name.startswith("class_head.") and not name.endswith("num_batches_tracked"):
            assert torch.allclose(state[name], source[name], rtol=1e-3, atol=1e-5), name
    assert torch.equal(net.class_head.weight, drawn)
    kinds = {name: tensor.dtype for name, tensor in load(file.read_bytes()).items()}
    assert kinds["stem.0.weight"] == torch.float16
    assert kinds["stem.1.running_var"] == torch.float32
    assert not any(name.startswith("class_head.") for name in kinds)


def test_a_file_without_one_of_the_kernels_is_refused(tmp_path: Path) -> None:
    path, state = tmp_path / "state.pt", learned_net(SHAPE).state_dict()
    del state["detail.widen.weight"]
    torch.save(state, path)
    with pytest.raises(ConfigError, match=r"has no detail\.widen\.weight"):
        find_backbone(str(path), None, SHAPE)


def test_a_new_run_begins_with_them_and_a_resumed_one_where_it_was(file: Path) -> None:
    backbone, _ = find_backbone(str(file), None, SHAPE)
    assert backbone is not None
    state = Checkpoint({}, SHAPE, ("a", "b", "c"))
    run = Learner(state, Team(), backbone=backbone)
    for net in (run.net, run.average):
        assert torch.equal(net.state_dict()["stem.0.weight"], backbone.tensors["stem.0.weight"])
    saved = run.snapshot()
    saved.weights = {name: tensor + 1 for name, tensor in saved.weights.items()}
    resumed = Learner(saved, Team(), backbone=backbone).net.state_dict()
    assert torch.equal(resumed["stem.0.weight"], backbone.tensors["stem.0.weight"] + 1)


def test_a_torch_state_dict_and_a_runs_checkpoint_are_read_too(tmp_path: Path) -> None:
    net = learned_net(SHAPE)
    torch.save(net.state_dict(), tmp_path / "state.pt")
    torch.save({"average": net.state_dict(), "epoch": 3}, tmp_path / "final.pt")
    for name in ("state.pt", "final.pt"):
        found, _ = find_backbone(str(tmp_path / name), None, SHAPE)
        assert found is not None
        assert torch.equal(found.tensors["stem.0.weight"], net.state_dict()["stem.0.weight"])


@pytest.mark.parametrize(("asked", "words"), [("none", "drawn at random"), ("auto", "begins with")])
def test_without_an_address_it_is_said_what_the_net_begins_with(asked: str, words: str) -> None:
    found, told = find_backbone(asked, None, SHAPE)
    assert words in told
    assert (found is not None) == (asked == "auto" and shipped_file(SHAPE) is not None)


def test_the_shipped_weights_are_small_and_those_of_the_usual_net() -> None:
    files = list(SHIPPED.iterdir())
    assert shipped_file(Pretraining(steps=1).shape) in files
    assert sum(file.stat().st_size for file in files) < 1_000_000


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_weights_of_before_kernels_were_turned_are_refused_in_words(channels: int, tmp_path: Path) -> None:
    torch.save(plain(learned_net(SHAPE)).state_dict(), tmp_path / "older.pt")
    with pytest.raises(ConfigError, match="before kernels were turned fits no more"):
        find_backbone(str(tmp_path / "older.pt"), None, replace(SHAPE, channels=channels))


def _spoil(file: Path, **tensors: torch.Tensor | None) -> None:
    content = load(file.read_bytes()) | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    file.write_bytes(save({name: tensor for name, tensor in content.items() if tensor is not None}))


def test_what_does_not_fit_is_refused_in_words(file: Path, tmp_path: Path) -> None:
    def refused(words: str, address: Path | str = file, digest: str | None = None, shape: NetShape = SHAPE) -> None:
        with pytest.raises(ConfigError, match=words):
            find_backbone(str(address), digest, shape)

    whole = file.read_bytes()
    refused("cannot be read", tmp_path / "absent.safetensors")
    refused("has the digest sha256:.*was asked for", digest="sha256:" + "0" * 64)
    refused("must be .*choose the --size", shape=NetShape(2, 3, width=32))
    refused("--weights-digest belongs to an address", "auto", digest="sha256:" + "0" * 64)
    refused("say with --weights-digest", "https://example.invalid/backbone.safetensors")
    refused("cannot be read", "nothing://backbone.safetensors", digest="sha256:" + "0" * 64)
    _spoil(file, stem__0__weight=None)
    refused("another net .has no stem.0.weight")
    file.write_bytes(whole)
    _spoil(file, fc__weight=torch.zeros(3))
    refused("another net .has a fc.weight")
    file.write_bytes(whole)
    _spoil(file, stem__1__bias=torch.full((8,), torch.nan))
    refused("a number that is none")
    file.write_bytes(whole[: len(whole) // 2])
    refused("is damaged")
    (tmp_path / "strange.pt").write_bytes(whole)
    refused("is damaged", tmp_path / "strange.pt")
    torch.save(Net(NetShape(1, 3)).state_dict(), tmp_path / "grey.pt")
    refused("they see 1 channels and not 2", tmp_path / "grey.pt")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
        return


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_weights_come_from_a_server_if_their_digest_is_told(file: Path, server: str) -> None:
    found, _ = find_backbone(f"{server}/{file.name}", _digest(file), SHAPE)
    assert found is not None
    assert found.digest == _digest(file).removeprefix("sha256:")
    with pytest.raises(ConfigError, match="cannot be read"):
        find_backbone(f"{server}/absent.safetensors", _digest(file), SHAPE)


def test_the_secret_of_a_signed_address_is_not_told_with_the_weights(file: Path, server: str) -> None:
    found, words = find_backbone(f"{server}/{file.name}?signature=se/cret#part", _digest(file), SHAPE)
    assert str(found) == f"{file.name} {_digest(file)}"
    assert "cret" not in words
    assert "nothing is known of the pictures that it learned from" in words


def test_pretraining_writes_what_training_begins_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "small.safetensors"
    dials = ["--steps", "2", "--batch", "4", "--side", "128", "--pictures", "6", "--workers", "1", "--device", "cpu"]
    assert main(["pretrain", "--out", str(weights), *dials]) == 0
    said = capsys.readouterr()
    assert "AP@0.33 on the defective ones of 6 pictures that were not learned" in said.out
    threads = max(1, usable_cores() - 1)
    assert f"(processor threads: {threads}; processes that make the pictures: 1)" in " ".join(said.err.split())
    assert torch.get_num_threads() == threads
    assert weights.stat().st_size < 4_000_000
    write_tiny_boards(tmp_path / "data", pictures=8, groups=2)
    train = [
        "train",
        "--data",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "run"),
        "--epochs",
        "1",
        "--workers",
        "1",
    ]
    train += ["--batch", "4", "--crop", "96", "--holdout", "family0"]
    assert main([*train, "--weights", str(weights)]) == 0
    name = f"small.safetensors {_digest(weights)}"
    assert f"begins with {name}" in " ".join(capsys.readouterr().err.split())
    assert torch.load(tmp_path / "run" / "final.pt", weights_only=True)["plan"]["weights"] == name
    assert main([*train, "--resume", "--weights", "none"]) == 78
    assert f"--weights {name} (now not given)" in capsys.readouterr().err


def test_pretraining_refuses_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, words in (
        (["--out", str(tmp_path / "weights.pt")], "must end in .safetensors"),
        (["--out", str(tmp_path / "a.safetensors"), "--side", "100"], "--side 100: must be a multiple of 32"),
        (["--out", str(tmp_path / "a.safetensors"), "--minutes", "-1"], "--minutes -1.0: must be"),
    ):
        assert main(["pretrain", *options]) == 78
        assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_preview_shows_forty_samples(tmp_path: Path) -> None:
    assert main(["pretrain", "--preview", str(tmp_path / "sheet.png")]) == 0
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (5 * 388, 8 * 260, 3)

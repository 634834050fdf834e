import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
import torch

from appliance.bundle.archive import read_bundle
from appliance.bundle.limits import refuse_undecided
from appliance.bundle.manifest import Geometry
from appliance.demo.station import SHIPPED_BUNDLE
from appliance.errors import BundleProofError, ConfigError
from appliance.runtimes.onnx import OnnxRuntime
from tests.tiny_boards import CLASSES, write_tiny_boards
from trainer.__main__ import main
from trainer.candidates import CANDIDATES
from trainer.datasets.reading import read_dataset
from trainer.datasets.sample import load_picture
from trainer.evaluate import BundleRunner, judge_samples, report
from trainer.evaluate_command import refuse
from trainer.export import compare
from trainer.graph import ContractNet, run_torch, to_onnx
from trainer.metrics import Judged
from trainer.model import Net
from trainer.operating_point import choose_limit
from trainer.score_calibration import ScoreMap
from trainer.sizes import NetShape
from trainer.spent import Spent

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run: data/, run/ and part.bundle."""
    root = tmp_path_factory.mktemp("trained")
    write_tiny_boards(root / "data", pictures=20, groups=5)
    data, folder = str(root / "data"), str(root / "run")
    options = ["--holdout", "family0,family1", "--epochs", "40", "--batch", "4", "--crop", "64", "--workers", "1"]
    assert main(["train", "--data", data, "--out", folder, *options, "--json", str(root / "figures.json")]) == 0
    bundle = ["--out", str(root / "part.bundle"), "--name", "tiny", "--revision", "3", "--golden", "4"]
    bundle += ["--few-golden", "a test", "--intended-use", "tiny boards at the\nfirst station"]
    assert main(["export", folder, *bundle, "--precisions", "f32", "--severity", "scratch=critical"]) == 0
    return root


def _judged(scores: list[float], is_right: bool) -> Judged:
    boxes = np.array([[20 * i, 0, 20 * i + 10, 10] for i in range(len(scores))], np.float32).reshape(-1, 4)
    labels = np.zeros(len(scores), np.int64)
    truth = (boxes, labels) if is_right else (boxes[:0], labels[:0])
    return Judged(boxes, np.array(scores, np.float32), labels, *truth)


def _make_sure(net: Net, spread: float) -> None:
    """Let an untrained net have opinions."""
    weight = dict(net.named_parameters())["class_head.weight"]
    torch.nn.init.normal_(weight, std=spread)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_graph_says_in_onnx_what_it_says_in_torch(channels: int) -> None:
    torch.manual_seed(0)
    net = Net(NetShape(channels, 3, 8))
    _make_sure(net, 0.1)
    model = ContractNet(net, ScoreMap(1.4, -0.2), 96, 128)
    manifest_like = SimpleNamespace(
        geometry=Geometry(width=128, height=96, channels=3 if channels == 3 else 1, fit="exact", pad_value=114),
        outputs=SimpleNamespace(candidates=CANDIDATES),
        classes=("a", "b", "c"),
    )
    runtime = OnnxRuntime(to_onnx(model, channels), manifest_like)  # type: ignore[arg-type]
    pictures = np.random.default_rng(0).integers(0, 255, (3, 96, 128, channels), dtype=np.uint8)
    score, px = compare(model, runtime, list(pictures))
    assert score < 1e-4
    assert px < 0.01
    raw = runtime.infer(pictures)  # a batch says what its pictures say alone
    assert np.allclose(raw.scores[1], run_torch(model, pictures[1:2])[1][0], atol=1e-4)


def test_the_calibration_is_in_the_graph() -> None:
    net = Net(NetShape(1, 2, 8))
    _make_sure(net, 0.5)
    picture = np.random.default_rng(0).integers(0, 255, (1, 96, 96, 1), dtype=np.uint8)
    honest = ScoreMap(0.5, -1.0)
    raw = run_torch(ContractNet(net, ScoreMap(), 96, 96), picture)[1]
    mapped = run_torch(ContractNet(net, honest, 96, 96), picture)[1]
    is_peak = raw > 0.0
    assert is_peak.sum() > 10
    assert np.allclose(honest(raw[is_peak].astype(np.float64)), mapped[is_peak], atol=1e-5)
    assert not np.allclose(raw[is_peak], mapped[is_peak], atol=1e-3)
    assert not mapped[~is_peak].any()


def test_a_graph_with_other_weights_is_not_passed_off_as_the_same() -> None:
    torch.manual_seed(0)
    first, second = (ContractNet(Net(NetShape(1, 2, 8)), ScoreMap(), 96, 96) for _ in range(2))
    for model in (first, second):
        _make_sure(model.net, 0.5)
    manifest_like = SimpleNamespace(
        geometry=Geometry(width=96, height=96, channels=1, fit="exact", pad_value=114),
        outputs=SimpleNamespace(candidates=CANDIDATES),
        classes=("a", "b"),
    )
    runtime = OnnxRuntime(to_onnx(second, 1), manifest_like)  # type: ignore[arg-type]
    picture = np.random.default_rng(0).integers(0, 255, (96, 96, 1), dtype=np.uint8)
    with pytest.raises(BundleProofError, match="differ"):
        compare(first, runtime, [picture])


def test_the_graph_keeps_to_the_contract() -> None:
    graph = onnx.load_from_string(to_onnx(ContractNet(Net(NetShape(1, 2, 8)), ScoreMap(), 96, 96), 1)).graph
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {
        "image": ["batch", 96, 96, 1],
        "boxes": ["batch", 100, 4],
        "scores": ["batch", 100],
        "labels": ["batch", 100],
    }
    assert next(node.op_type for node in graph.node if "image" in node.input) == "Cast"
    assert not {"Pad", "NonMaxSuppression", "BatchNormalization"} & {node.op_type for node in graph.node}


@pytest.mark.parametrize(("height", "width"), [(96, 100), (64, 64)])
def test_a_size_that_the_net_cannot_take_is_refused(height: int, width: int) -> None:
    with pytest.raises(ConfigError, match=f"{width} x {height}"):
        ContractNet(Net(NetShape(1, 2, 8)), ScoreMap(), height, width)


def test_the_bundle_says_where_it_comes_from(run: Path) -> None:
    bundle = read_bundle(run / "part.bundle")
    manifest = bundle.manifest
    assert (manifest.name, manifest.revision) == ("tiny", 3)
    assert [(c.name, c.severity) for c in manifest.classes] == [("scratch", "critical"), ("dent", "major")]
    assert (manifest.geometry.width, manifest.geometry.channels, manifest.geometry.fit) == (96, 1, "pad")
    assert manifest.lineage.metrics["ap_pooled_iou33"] > 0.5
    assert bundle.baseline.count == 5
    assert "family0, family1" in bundle.model_card
    assert len(bundle.golden) == 4
    assert [image.kind for image in bundle.golden[:2]] == ["clear_bad", "clear_good"]
    assert "That it finds on 4 golden images what this model finds: 1 clear bad, 1 clear good, " in bundle.model_card
    assert "Beware: only 4 golden images speak for the proof, 32 should; no golden image is" in bundle.model_card
    assert "Why that is let pass: a test\n" in bundle.model_card
    assert "Its intended use, as stated: tiny boards at the first station\n" in bundle.model_card


def test_the_card_tells_of_each_group_what_an_evaluation_of_it_finds(run: Path) -> None:
    bundle, told = str(run / "part.bundle"), run / "groups.json"
    (run / "held.txt").write_text("family0\nfamily1\n")
    asked = ["--data", str(run / "data"), "--groups", f"@{run / 'held.txt'}", "--json", str(told)]
    assert main(["evaluate", "--bundle", bundle, *asked]) == 0
    groups = json.loads(told.read_text())["groups"]
    rows = {
        name: f"| {name} | {100 * its['ap_pooled']:.1f} % "
        f"| {100 * its['ap_bounds']['low']:.1f} .. {100 * its['ap_bounds']['high']:.1f} % "
        f"| {its['parts']['escapes']} of {its['parts']['bad']} "
        f"| {its['parts']['overkill']} of {its['parts']['good']} |"
        for name, its in groups.items()
    }
    worst_first = sorted(rows, key=lambda name: float(groups[name]["ap_pooled"]))
    assert "\n".join(rows[name] for name in worst_first) in read_bundle(Path(bundle)).model_card


def test_few_golden_images_are_told_and_the_model_card_says_why_that_is_let_pass(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = run / "few.bundle"
    words = ["export", str(run / "run"), "--out", str(target), "--precisions", "f32", "--no-stress"]
    for why in ([], ["--few-golden", "  "]):
        assert main([*words, *why]) == 0
        told = " ".join(capsys.readouterr().err.split())
        assert "beware: only " in told
        assert " golden images speak for the proof, 32 should; no golden image is there for: " in told
        assert "Why that is let pass: nobody has said\n" in read_bundle(target).model_card
    assert main([*words, "--few-golden", "twenty pictures are all there are", "--json", str(run / "few.json")]) == 0
    assert "Why that is let pass: twenty pictures are all there are" in read_bundle(target).model_card
    figures = json.loads((run / "few.json").read_text())
    assert figures["golden_lacks"].startswith("only ")
    assert 0 <= figures["torch_difference"]["score"] < 1e-3
    assert 0 <= figures["torch_difference"]["box_px"] < 0.1
    assert (
        figures["averaged_weights_sha256"] == json.loads((run / "figures.json").read_text())["averaged_weights_sha256"]
    )


def test_golden_images_that_decide_nothing_are_told_before_a_device_refuses_them(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(run / "run"), "--out", str(run / "one.bundle"), "--precisions", "f32", "--no-stress"]
    assert main([*words, "--golden", "1", "--few-golden", "a test"]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "beware: none of its golden images is accepted, " in told
    assert "no device will run this bundle" in told
    with pytest.raises(BundleProofError, match="cannot be proved: none of its golden images is accepted"):
        refuse_undecided(read_bundle(run / "one.bundle"))
    refuse_undecided(read_bundle(run / "part.bundle"))


def test_the_golden_images_hold_what_the_bundle_finds(run: Path) -> None:
    bundle = read_bundle(run / "part.bundle")
    runner = BundleRunner(bundle.model_onnx, bundle.manifest)
    assert any(image.detections for image in bundle.golden)
    for image in bundle.golden:
        found = runner.detect(image.pixels())
        assert [d.label for d in found] == [d.label for d in image.detections]
        assert np.allclose([d.score for d in found], [d.score for d in image.detections], atol=1e-5)


def test_a_bundle_is_judged_as_it_runs_and_refused_by_its_figures(run: Path, tmp_path: Path) -> None:
    arguments = [
        "evaluate",
        "--bundle",
        str(run / "part.bundle"),
        "--data",
        str(run / "data"),
        "--json",
        str(tmp_path / "r.json"),
    ]
    assert main([*arguments, "--groups", "family0"]) == 0
    figures = json.loads((tmp_path / "r.json").read_text())
    assert figures["pictures"] == 4
    assert set(figures["ap_classes"]) == set(CLASSES)
    assert list(figures["groups"]) == ["family0"]
    path = run / "data" / "annotations.json"
    content = json.loads(path.read_text())
    for category, name in zip(content["categories"], reversed(CLASSES), strict=True):
        category["name"] = name
    (run / "data" / "mistaken.json").write_text(json.dumps(content))
    arguments[arguments.index("--data") + 1] = str(run / "data" / "mistaken.json")
    assert main([*arguments, "--min-ap", "0.9"]) == 1
    assert "below" in json.loads((tmp_path / "r.json").read_text())["refused"][0]


def test_evaluation_follows_names_when_the_data_orders_classes_otherwise(run: Path) -> None:
    path = run / "data" / "annotations.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["category_id"] = 3 - annotation["category_id"]
    content["categories"] = [{"id": 1, "name": CLASSES[1]}, {"id": 2, "name": CLASSES[0]}]
    swapped = run / "data" / "swapped.json"
    swapped.write_text(json.dumps(content))
    bundle = read_bundle(run / "part.bundle")
    runner = BundleRunner(bundle.model_onnx, bundle.manifest)
    reports = [report(*_with_manifest(runner, data)).ap_pooled for data in (read_dataset(path), read_dataset(swapped))]
    assert reports[0] == reports[1]


def _with_manifest(runner: BundleRunner, data):  # type: ignore[no-untyped-def]
    judged, ms = judge_samples(runner, data)
    return judged, runner.manifest, ms


def test_a_larger_picture_is_tiled_and_its_defect_found_once(run: Path) -> None:
    bundle = read_bundle(run / "part.bundle")
    sample = next(s for s in read_dataset(run / "data" / "annotations.json").samples if not s.is_good)
    picture = load_picture(sample.image, 1)
    large = np.full((96, 240, 1), 115, np.uint8)
    large[:, 70:166] = picture
    alone = BundleRunner(bundle.model_onnx, bundle.manifest).detect(picture)
    tiled = BundleRunner(bundle.model_onnx, bundle.manifest, overlap_px=40).detect(large)
    limit = bundle.manifest.classes[0].limit
    sure = [d for d in alone if d.score > limit]
    assert len([d for d in tiled if d.score > limit]) == pytest.approx(len(sure), abs=1)
    assert max(d.box[2] for d in tiled) > 96


def test_a_class_that_the_bundle_does_not_know_is_refused_where_a_box_has_it(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "data" / "annotations.json"
    content = json.loads(path.read_text())
    content["categories"].append({"id": 3, "name": "crack"})
    other = run / "data" / "crack.json"
    other.write_text(json.dumps(content))
    judge = ["evaluate", "--bundle", str(run / "part.bundle"), "--data", str(other)]
    assert main(judge) == 0
    content["annotations"][0]["category_id"] = 3
    other.write_text(json.dumps(content))
    capsys.readouterr()
    assert main(judge) == 78
    assert "the bundle does not know crack" in capsys.readouterr().err


def test_the_limit_has_the_best_f_where_no_part_is_at_stake() -> None:
    bad = [_judged([0.9, 0.6], True) for _ in range(10)]
    doubtful = replace(bad[0], true_boxes=bad[0].true_boxes[:1], true_labels=bad[0].true_labels[:1])
    clean = [_judged([], False) for _ in range(10)]
    assert choose_limit([*bad, *clean]) <= 0.6
    assert choose_limit([*bad[:1], *[doubtful] * 9, *clean]) > 0.6


def test_the_limit_keeps_clear_of_escapes_and_of_overkill() -> None:
    bad = [_judged([0.9], True) for _ in range(10)]
    clean = [_judged([0.2], False) for _ in range(10)]
    assert 0.2 < choose_limit([*bad, _judged([0.3], True), *clean]) <= 0.3
    assert 0.5 < choose_limit([*bad, *clean, _judged([0.5], False)]) <= 0.9


def test_where_parts_overlap_the_limit_shares_the_pain() -> None:
    bad = [_judged([score], True) for score in np.linspace(0.5, 0.99, 100)]
    good = [_judged([score], False) for score in np.linspace(0.01, 0.6, 100)]
    limit = choose_limit([*bad, *good])
    assert 0.5 < limit < 0.6
    escapes = np.mean(np.linspace(0.5, 0.99, 100) < limit)
    overkill = np.mean(np.linspace(0.01, 0.6, 100) >= limit)
    assert escapes == pytest.approx(2 * overkill, abs=0.03)  # as the targets are


def test_what_could_not_be_measured_is_refused_when_asked_for() -> None:
    parts = SimpleNamespace(escapes=1, bad=10, overkill=0, good=0)
    figures = SimpleNamespace(ap_pooled=float("nan"), parts=parts)
    assert refuse(figures, None, None, None) == []  # type: ignore[arg-type]
    assert len(refuse(figures, 0.5, 5.0, 5.0)) == 3  # type: ignore[arg-type]
    assert refuse(figures, None, 10.0, None) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["train", "--data", "nowhere", "--out", "r", "--epochs", "1"], 78, "does not exist"),
        (["export", "nowhere", "--out", "o", "--name", "n", "--revision", "1"], 78, "train first, or name another run"),
        (["evaluate", "--bundle", "nowhere.bundle", "--data", "."], 65, "nowhere.bundle cannot be read"),
        (["evaluate", "--bundle", str(SHIPPED_BUNDLE), "--data", str(Path(__file__).parent)], 78, "trainval.txt"),
    ],
)
def test_a_users_mistake_gets_words_and_a_code(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["train", "--data", "d"],
        ["train", "--data", "d", "--out", "r", "--epochs", "0"],
        ["train", "--data", "d", "--out", "r", "--epochs", "1", "--budget-minutes", "1"],
        ["export", "r", "--name", "n"],
        ["evaluate", "b.bundle", "--data", "d"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


@pytest.mark.parametrize(
    ("command", "option", "text", "words"),
    [
        ("train", "--epochs", "abc", "'abc' is no count; write a whole number above 0"),
        ("train", "--batch", "0", "'0' is no count"),
        ("train", "--holdout", ",", "',' names nothing; write names with commas between them"),
        ("export", "--severity", "open=deadly", "'open=deadly' is not CLASS=critical"),
        ("evaluate", "--groups", "", "'' names nothing"),
        ("evaluate", "--min-ap", "nan", "'nan' is not between 0 and 1"),
        ("evaluate", "--min-ap", "1.01", "'1.01' is not between 0 and 1"),
        ("evaluate", "--min-ap", "good", "'good' is not a number"),
        ("evaluate", "--max-escapes/--max-escape", "nan", "'nan' is not between 0 and 100"),
        ("export", "--max-escapes/--max-escape", "101%", "'101' is not between 0 and 100"),
        ("evaluate", "--max-overkill", "inf", "'inf' is not between 0 and 100"),
    ],
)
def test_an_options_value_that_makes_no_sense_is_refused_in_words(
    command: str, option: str, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, option.rpartition("/")[2], text])
    assert exit_.value.code == 2
    assert f"argument {option}: {words}" in capsys.readouterr().err


def test_a_file_that_is_no_bundle_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.bundle"
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((8, 8), np.uint8))
    (tmp_path / "x.png").rename(path)
    assert main(["evaluate", "--bundle", str(path), "--data", str(run / "data")]) == 65
    assert "x.bundle" in capsys.readouterr().err


def test_without_a_defect_there_is_no_precision_recall_or_f(run: Path) -> None:
    manifest = read_bundle(run / "part.bundle").manifest
    figures = report([_judged([0.9], False), _judged([], False)], manifest, Spent.of([1.0]))
    assert all(np.isnan(value) for at in (figures.at_limits, figures.best) for value in (at.precision, at.recall, at.f))
    assert figures.parts.good == 2

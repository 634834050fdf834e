"""Models with fewer bits: what is in their graphs, where their ranges come from, and that no bad one is shipped."""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from appliance.__main__ import main as simulate
from appliance.bundle.archive import read_bundle
from appliance.bundle.manifest import DefectClass, Manifest
from appliance.bundle.model import check_model
from appliance.demo.station import SHIPPED_BUNDLE
from appliance.runtimes.onnx import OnnxRuntime
from tests.models import tiny_manifest
from tests.tiny_boards import write_tiny_boards
from trainer.__main__ import main
from trainer.calibration_set import choose_samples, digests, load_inputs
from trainer.datasets.reading import read_dataset
from trainer.datasets.split import Split, split_by_group
from trainer.evaluate import BundleRunner, judge_samples
from trainer.graph import ContractNet, to_onnx
from trainer.half import to_fp16
from trainer.layers import convolutions
from trainer.metrics import Judged
from trainer.model import Net
from trainer.parity import compare_all
from trainer.quantise import WAYS, observe, quantisable, rank_layers, to_int8
from trainer.score_calibration import ScoreMap
from trainer.sizes import NetShape
from trainer.turned import TurnedNorm
from trainer.variants import MOST_DROP, Gate, Made, Variants, attempt, make_variants

pytestmark = pytest.mark.long

SIDE_PX = 96
HELD_OUT = ("family0", "family1")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a tiny net, and part.bundle with all that passed: on so few pictures that may be much or little."""
    root = tmp_path_factory.mktemp("trained")
    write_tiny_boards(root / "data", pictures=20, groups=5)
    dials = ["--epochs", "40", "--batch", "4", "--crop", "64", "--workers", "1", "--holdout", ",".join(HELD_OUT)]
    assert main(["train", "--data", str(root / "data"), "--out", str(root / "run"), *dials]) == 0
    written = ["--out", str(root / "part.bundle"), "--golden", "4", "--no-stress", "--json", str(root / "part.json")]
    assert main(["export", str(root / "run"), *written, "--few-golden", "a test"]) == 0
    return root


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Simulated boards, some to see the ranges on and some to judge by."""
    folder = tmp_path_factory.mktemp("boards")
    assert simulate(["simulate", str(folder), "--parts", "24", "--parts-per-family", "4", "--seed", "5"]) == 0
    dataset = read_dataset(folder)
    return split_by_group(dataset, dataset.groups()[:3])


@pytest.fixture(scope="module")
def gate(boards: Split) -> Gate:
    """Judges models beside the shipped one."""
    bundle = read_bundle(SHIPPED_BUNDLE)
    judged, _ = judge_samples(BundleRunner(bundle.model_onnx, bundle.manifest), boards.validation, is_quiet=True)
    return Gate(bundle, boards.validation, judged)


@pytest.fixture(scope="module")
def made(gate: Gate, boards: Split) -> Variants:
    """Both models of the shipped bundle."""
    return make_variants(gate, boards, ("fp16", "int8"))


@pytest.fixture(scope="module")
def model() -> bytes:
    torch.manual_seed(0)
    net = Net(NetShape(1, 2, 16, detail=8))
    torch.nn.init.normal_(dict(net.named_parameters())["class_head.weight"], std=0.1)
    for module in net.modules():
        if isinstance(module, TurnedNorm):  # all alike, they would be written as one
            torch.nn.init.normal_(module.bias, std=0.01)
    return to_onnx(ContractNet(net, ScoreMap(), SIDE_PX, SIDE_PX), 1)


def manifest() -> Manifest:
    classes = tuple(DefectClass(name=name, severity="major", limit=0.5) for name in ("scratch", "dent"))
    return tiny_manifest(SIDE_PX, SIDE_PX, classes=classes)


def pictures(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 255, (count, SIDE_PX, SIDE_PX, 1), dtype=np.uint8))


def test_int8_is_explicit_symmetric_signed_and_leaves_heads_and_biases_alone(model: bytes) -> None:
    quantised = to_int8(model, observe(model, pictures(4), "percentile"), quantisable(model))
    assert check_model(quantised).opset == 17
    graph = onnx.load_from_string(quantised).graph
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
    body, heads = convolutions(onnx.load_from_string(quantised))
    for node in graph.node:
        if node.op_type == "Conv":
            is_quantised = [made[name].op_type == "DequantizeLinear" if name in made else False for name in node.input]
            assert is_quantised in ([True, True, False], [True, True], [False] * len(node.input))
            assert (node.name in quantisable(model)) is is_quantised[0]
    weight = made[next(node for node in graph.node if node.name == body[0]).input[1]]
    assert constants[weight.input[1]].shape == (32,)  # one scale per channel
    assert not set(heads) & set(quantisable(model))
    assert next(node.op_type for node in graph.node if "image" in node.input) == "Cast"


def test_fp16_is_typed_in_the_file_between_the_normalisation_and_the_heads(model: bytes) -> None:
    halved = to_fp16(model)
    assert check_model(halved).opset == 17
    graph = onnx.load_from_string(halved).graph
    kinds = {item.name: item.data_type for item in graph.initializer}
    body, heads = convolutions(onnx.load_from_string(halved))
    for node in graph.node:
        if node.op_type == "Conv":
            wanted = TensorProto.FLOAT if node.name in heads else TensorProto.FLOAT16
            assert {kinds[name] for name in node.input[1:]} == {wanted}, node.name
    assert len(body) > 20
    assert next(node.op_type for node in graph.node if "image" in node.input) == "Cast"
    batch = np.stack(pictures(2))
    exact, near = (OnnxRuntime(content, manifest()).infer(batch) for content in (model, halved))
    assert near.scores == pytest.approx(exact.scores, abs=5e-3)


@pytest.mark.parametrize("method", [method for method, bits in WAYS if bits == 8])
def test_int8_says_nearly_what_the_model_says(model: bytes, method: str) -> None:
    seen = pictures(4)
    quantised = to_int8(model, observe(model, seen, method), quantisable(model))  # type: ignore[arg-type]
    batch = np.stack(seen[:2])
    exact, near = (OnnxRuntime(content, manifest()).infer(batch).scores for content in (model, quantised))
    assert np.abs(near - exact).mean() < 0.02
    assert not np.array_equal(near, exact)


def test_openvino_computes_the_file_with_int8_and_finds_what_onnx_runtime_finds(model: bytes) -> None:
    adapter = pytest.importorskip(
        "appliance.runtimes.openvino", reason="openvino is not installed (extra openvino)", exc_type=ModuleNotFoundError
    )
    seen = pictures(4)
    quantised = to_int8(model, observe(model, seen, "percentile"), quantisable(model))
    runtime = adapter.OpenVinoRuntime(quantised, manifest(), precision="int8")
    assert " int8 " in runtime.describe()
    batch = np.stack(seen[:2])
    emulated = OnnxRuntime(quantised, manifest()).infer(batch).scores
    assert np.abs(runtime.infer(batch).scores - emulated).mean() < 0.01


def test_the_layer_that_moves_the_scores_most_comes_first(model: bytes) -> None:
    ranges = observe(model, pictures(2), "minmax")
    order = rank_layers(model, ranges, pictures(2), manifest())
    assert sorted(order) == sorted(quantisable(model))
    alone = {}
    exact = OnnxRuntime(model, manifest()).infer(np.stack(pictures(2))).scores
    for layer in (order[0], order[-1]):
        found = OnnxRuntime(to_int8(model, ranges, [layer]), manifest()).infer(np.stack(pictures(2))).scores
        alone[layer] = np.abs(found - exact).mean()
    assert alone[order[0]] > alone[order[-1]]


def test_the_pictures_are_spread_over_groups_and_kinds_and_are_the_same_each_time(tmp_path: Path) -> None:
    train = split_by_group(read_dataset(write_tiny_boards(tmp_path, pictures=60, groups=6)), HELD_OUT).train
    chosen = choose_samples(train, 12)
    assert chosen == choose_samples(train, 12)
    assert len({sample.image for sample in chosen}) == 12
    assert Counter(sample.group for sample in chosen) == dict.fromkeys(train.groups(), 3)
    assert sum(sample.is_good for sample in chosen) == 4
    assert {label for sample in chosen for label in sample.labels.tolist()} == {0, 1}
    assert len(choose_samples(train, 1000)) == len(train.samples)


def test_the_ranges_come_from_pictures_of_the_training_half_alone(made: Variants, boards: Split) -> None:
    seen = made.made["int8"].variant.calibration
    of_training, held_out = (
        {hashlib.sha256(sample.image.read_bytes()).hexdigest() for sample in half.samples}
        for half in (boards.train, boards.validation)
    )
    assert set(seen) == of_training  # there are fewer than 64
    assert not set(seen) & held_out
    assert seen == digests(choose_samples(boards.train))
    assert made.made["fp16"].variant.calibration == ()


def test_a_model_that_passed_comes_with_what_it_costs(made: Variants, gate: Gate) -> None:
    told = made.made["int8"].variant
    assert told.ap_drop <= MOST_DROP
    assert (told.parts, told.parts_changed) == (12, 0)
    assert told.method.partition(",")[0] in {method for method, _ in WAYS}
    assert set(told.kept_float).isdisjoint(quantisable(gate.base.model_onnx))
    assert len(made.models()["int8"]) < 0.5 * len(gate.base.model_onnx)
    assert made.made["fp16"].variant.ap_drop == pytest.approx(0, abs=MOST_DROP)
    assert made.refused == {}


def test_of_a_model_that_moves_a_deciding_score_too_far_the_image_goes_unless_another_method_keeps_it(
    made: Variants, gate: Gate, boards: Split
) -> None:
    """The ranges of a few pictures cut off a peak; no verdict changes by it, because other defects are on the board."""
    model, held = gate.base.model_onnx, load_inputs(choose_samples(boards.train), gate.base.manifest.geometry)
    cut = to_int8(model, observe(model, held, "percentile"), quantisable(model))
    lacking = attempt(gate, "int8", cut, "percentile", (), ())
    assert isinstance(lacking, Made)
    assert lacking.is_lacking
    assert not made.made["int8"].is_lacking
    refusal = attempt(gate, "int8", cut, "percentile", (), (), may_lack=False)
    assert "(at most 0.05 off)" in str(refusal)
    assert made.made["int8"].variant.method != "percentile"


def test_a_layer_that_8_bits_spoil_stays_float_and_the_others_do_not(gate: Gate, boards: Split) -> None:
    model_onnx, layer = _with_an_outlier(gate.base.model_onnx)
    base = replace(gate.base, model_onnx=model_onnx)
    judged, _ = judge_samples(BundleRunner(model_onnx, base.manifest), boards.validation, is_quiet=True)
    made = make_variants(Gate(base, boards.validation, judged), boards, ("int8",)).made["int8"].variant
    assert made.ap_drop <= MOST_DROP
    assert layer in made.kept_float
    assert len(set(quantisable(model_onnx)) - set(made.kept_float)) >= len(quantisable(model_onnx)) // 2


def _with_an_outlier(model_onnx: bytes) -> tuple[bytes, str]:
    """Make one channel between two convolutions a thousand times as large: 256 steps are too few for the others.

    Returns the model, which says what it said before, and the name of the second of the two.
    """
    model = onnx.load_from_string(model_onnx)
    weights = {item.name: item for item in model.graph.initializer}
    layers = {name: node for node in model.graph.node for name in node.input[:1]}
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    second = layers[layers[first.output[0]].output[0]]
    for name, axis, factor in ((first.input[1], 0, 1e3), (first.input[2], 0, 1e3), (second.input[1], 1, 1e-3)):
        values = numpy_helper.to_array(weights[name]).copy()
        values[(slice(None),) * axis + (0,)] *= np.float32(factor)
        weights[name].CopyFrom(numpy_helper.from_array(values, name))
    return bytes(model.SerializeToString()), second.name


def test_a_planted_bad_model_does_not_pass_the_gate(made: Variants, gate: Gate) -> None:
    spoiled = attempt(gate, "int8", _spoiled(made.models()["int8"]), "percentile", (), ())
    refused, chosen = Variants(), Variants()
    refused.take("int8", [spoiled])
    assert not refused.made
    assert "so the bundle holds no int8 model" in refused.refused["int8"]
    chosen.take("int8", [spoiled, made.made["int8"]])
    assert chosen.made == {"int8": made.made["int8"]}
    assert not chosen.refused


def _spoiled(model_onnx: bytes) -> bytes:
    """Multiply the scales of all weights and activations, as a mistake in the calibration would."""
    model = onnx.load_from_string(model_onnx)
    for item in model.graph.initializer:
        if item.name.endswith("_scale"):
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item) * np.float32(1.5), item.name))
    return bytes(model.SerializeToString())


def test_a_model_that_rejects_more_good_parts_is_refused_whatever_its_ap(gate: Gate, boards: Split) -> None:
    parts = list(boards.validation.samples)
    chosen = next(place for place, sample in enumerate(parts) if len(sample.labels))
    parts[chosen] = replace(parts[chosen], boxes=np.zeros((0, 4), np.float32), labels=np.zeros(0, np.int64))
    dataset = replace(boards.validation, samples=tuple(parts))
    bundle = gate.base
    judged, _ = judge_samples(BundleRunner(bundle.model_onnx, bundle.manifest), dataset, is_quiet=True)
    judged[chosen] = judged[chosen].take(np.zeros(len(judged[chosen].labels), bool))  # a model that knows it is good
    made = attempt(Gate(bundle, dataset, judged), "fp16", to_fp16(bundle.model_onnx), "conversion", (), ())
    assert isinstance(made, Made)
    assert made.variant.ap_drop <= MOST_DROP
    variants = Variants()
    variants.take("fp16", [made])
    assert variants.made == {}
    assert "good parts rejected rise from 0 to 1 of" in variants.refused["fp16"]


def test_a_model_that_does_not_run_is_refused_in_words(gate: Gate) -> None:
    model = onnx.load_from_string(to_fp16(gate.base.model_onnx))
    body = set(convolutions(model)[0])
    weights = {node.input[1] for node in model.graph.node if node.name in body}
    for item in model.graph.initializer:
        if item.name in weights:  # as numbers become that 16 bits do not hold
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item) * np.float16(np.nan), item.name))
    variants = Variants()
    variants.take("fp16", [attempt(gate, "fp16", bytes(model.SerializeToString()), "conversion", (), ())])
    assert variants.made == {}
    assert "it does not run here (" in variants.refused["fp16"]
    assert "so the bundle holds no fp16 model" in variants.refused["fp16"]


def test_an_export_writes_what_passed_and_says_what_did_not(exported: Path) -> None:
    bundle = read_bundle(exported / "part.bundle")
    figures = json.loads((exported / "part.json").read_text())
    assert bundle.holds() == ("f32", *sorted(figures["variants"]))
    assert "fp16" in figures["variants"]
    assert figures["variants"].keys() | figures["variants_refused"].keys() == {"fp16", "int8"}
    assert all(told["ap_drop"] <= MOST_DROP for told in figures["variants"].values())
    assert "fp16: AP@0.33" in bundle.model_card


def test_nothing_is_made_that_nobody_wants(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = str(exported / "plain.bundle")
    named = ["--out", plain, "--golden", "4", "--no-stress", "--precisions", "f32"]
    assert main(["export", str(exported / "run"), *named, "--few-golden", "a test"]) == 0
    assert read_bundle(Path(plain)).manifest.schema_ == "vi.bundle/1"
    assert main(["evaluate", "--bundle", plain, "--data", str(exported / "data"), "--precision", "int8"]) == 78
    assert "holds f32; name one of them" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["export", str(exported / "run"), "--out", plain, "--precisions", "int8"])


def test_evaluate_tells_how_far_torch_and_the_models_lie_apart(exported: Path, tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("page.html", "figures.json")]
    data = ["--bundle", str(exported / "part.bundle"), "--data", str(exported / "data")]
    more = ["--report", files[0], "--json", files[1], "--weights", str(exported / "run")]
    assert main(["evaluate", *data, *more]) == 0
    parity = json.loads(Path(files[1]).read_text())["parity"]
    assert [*parity][:2] == ["f32 onnxruntime", "fp16 onnxruntime"]
    assert parity["f32 onnxruntime"]["largest_score_difference"] == 0
    assert parity["torch"]["largest_score_difference"] < 1e-3
    assert 0 < parity["fp16 onnxruntime"]["largest_score_difference"] < 0.1
    assert "The same weights in other ways" in Path(files[0]).read_text()


def test_evaluate_judges_int8_with_each_runtime_that_is_here(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    assert simulate(["simulate", str(tmp_path / "boards"), "--parts", "6", "--seed", "5"]) == 0
    words = [
        "--bundle",
        str(SHIPPED_BUNDLE),
        "--data",
        str(tmp_path / "boards"),
        "--json",
        str(tmp_path / "figures.json"),
    ]
    assert main(["evaluate", *words]) == 0
    others = json.loads((tmp_path / "figures.json").read_text())["others"]
    assert [*others] == ["fp16 onnxruntime", "int8 onnxruntime", "int8 openvino"]
    assert all(each["pictures_per_s"] > 0 for each in others.values())


def test_weights_of_another_run_are_not_taken_for_the_bundles(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    final = torch.load(exported / "run" / "final.pt", weights_only=True)
    (tmp_path / "other").mkdir()
    torch.save(final | {"trained_at": "2026-01-01T00:00:00+00:00"}, tmp_path / "other" / "final.pt")
    data = ["--bundle", str(exported / "part.bundle"), "--data", str(exported / "data")]
    assert main(["evaluate", *data, "--weights", str(tmp_path / "other")]) == 78
    assert "was exported from other weights" in capsys.readouterr().err


def test_a_model_of_another_precision_is_judged_by_itself(exported: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    data = ["--bundle", str(exported / "part.bundle"), "--data", str(exported / "data"), "--json", str(figures)]
    assert main(["evaluate", *data, "--precision", "fp16"]) == 0
    assert " fp16 " in json.loads(figures.read_text())["engine"]


def test_a_detection_that_the_other_does_not_have_counts_with_its_whole_score() -> None:
    nothing = np.zeros((0, 4), np.float32)
    box = np.array([[0, 0, 20, 20]], np.float32)

    def part(scores: list[float], label: int = 0) -> Judged:
        boxes = np.repeat(box, len(scores), axis=0) if scores else nothing
        labels = np.full(len(scores), label)
        return Judged(boxes, np.array(scores, np.float32), labels, box, np.zeros(1, np.int64))

    ways = {"a": [part([0.9])], "near": [part([0.8])], "blind": [part([])], "other": [part([0.9], label=1)]}
    ways["beside"] = [part([0.91, 0.06])]  # a second, faint candidate in the same place is no partner of the first
    table = compare_all(ways, "a", manifest())
    assert {name: round(row.largest_score_difference, 3) for name, row in table.items()} == (
        {"a": 0.0, "near": 0.1, "blind": 0.9, "other": 0.9, "beside": 0.06}
    )
    assert {name: row.parts_changed for name, row in table.items()} == dict.fromkeys(ways, 0) | {"blind": 1}
    assert (table["near"].ap_pooled, table["blind"].ap_pooled) == (1.0, 0.0)

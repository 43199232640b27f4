"""Tests of golden verdicts: a bundle with changed rules, intervals or names is refused, even if every hash matches."""

import shutil

import pytest
from forging import change_filter, change_json, rehash
from tiny_bundle import neural_bundle, tfidf_bundle

from potstill.bundle import load_bundle, verify_bundle
from potstill.bundle.layout import read_manifest
from potstill.bundle.verdicts import Verdicts
from potstill.errors import BundleError
from potstill.files import read_json, write_json
from potstill.filters import parse_filter
from potstill.students.storage import load_arrays, save_arrays

YAML = r"""
name: good-news
version: 3
dimensions:
  gain: {weight: 0.75, description: How much people gain}
  near: {weight: 0.25, description: How near it is}
gates:
  - {when: gain < 2, cap: 3.0, reason: no gain}
  - {when: gain >= 9 AND NOT near > 1, cap: 6.5, reason: far away}
caps:
  - {any: [advertisement, sponsored content], unless: [ban, ruling], cap: 2.0, reason: paid for}
  - {any: [product launch], when: near < 5, cap: 4.0, reason: business}
tiers:
  - {name: lead, when: overall >= 6, positive: true}
  - {name: page, when: overall >= 3}
  - {name: drawer}
prefilter:
  drop:
    - {reason: code page, any: [git clone, 股价], patterns: ['\bnext (?:amazon|tesla)\b'], unless: [newspaper]}
"""
FILTER = parse_filter(YAML, "Score the gain and the nearness.", "good-news")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    (folder / "scratch").mkdir()
    return {
        "tfidf": tfidf_bundle(folder / "tfidf", FILTER).folder,
        "neural": neural_bundle(folder / "neural", folder / "scratch").folder,
    }


@pytest.fixture
def bundle(originals, tmp_path):
    return shutil.copytree(originals["tfidf"], tmp_path / "bundle")


def put(value, *path):
    def change(content):
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return change


def without(*path):
    def change(content):
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = content[path[-1]][:-1]

    return change


CHANGES_OF_THE_FILTER = {
    "a cap of 2 made 9": put(9.0, "caps", 0, "cap"),
    "a cap made a little lower": put(1.9, "caps", 0, "cap"),
    "a gate of 3 made 4": put(4.0, "gates", 0, "cap"),
    "a gate's condition moved by a thousandth": put("gain < 1.999", "gates", 0, "when"),
    "a gate's condition that takes its bound in": put("gain <= 2", "gates", 0, "when"),
    "a NOT taken out": put("gain >= 9 AND near > 1", "gates", 1, "when"),
    "an AND made an OR": put("gain >= 9 OR NOT near > 1", "gates", 1, "when"),
    "a gate taken out": without("gates"),
    "a cap's condition moved": put("near < 4.9", "caps", 1, "when"),
    "a cap's condition taken out": put(None, "caps", 1, "when"),
    "a term of a cap deleted": without("caps", 0, "any"),
    "an exception of a cap deleted": without("caps", 0, "unless"),
    "a term of a cap changed": put(["advertisements", "sponsored content"], "caps", 0, "any"),
    "a tier's bound moved": put("overall >= 5.999", "tiers", 0, "when"),
    "a tier's bound that is left out": put("overall > 3", "tiers", 1, "when"),
    "positive flipped": put(False, "tiers", 0, "positive"),
    "another tier made positive": put(True, "tiers", 1, "positive"),
    "a term of the prefilter deleted": without("prefilter", "drop", 0, "any"),
    "a pattern narrowed": put([r"\bnext (?:amazon)\b"], "prefilter", "drop", 0, "patterns"),
    "a pattern deleted": without("prefilter", "drop", 0, "patterns"),
    "an exception of the prefilter deleted": without("prefilter", "drop", 0, "unless"),
    "weights moved by a thousandth": lambda content: [
        put(0.751, "dimensions", "gain", "weight")(content), put(0.249, "dimensions", "near", "weight")(content)
    ],
}  # fmt: skip


class TestRules:
    @pytest.mark.parametrize("what", [what for what in CHANGES_OF_THE_FILTER if "positive" in what])
    def test_other_positive_tiers_are_refused_however_a_bundle_is_loaded(self, bundle, what):
        change_filter(bundle, CHANGES_OF_THE_FILTER[what])
        with pytest.raises(
            BundleError, match=r"calibration\.json: decides the positive tiers \w+; those of the filter"
        ):
            load_bundle(bundle, check="hashes")

    @pytest.mark.parametrize("what", [what for what in CHANGES_OF_THE_FILTER if "positive" not in what])
    def test_a_changed_rule_is_refused_on_loading_and_by_verify(self, bundle, what):
        change_filter(bundle, CHANGES_OF_THE_FILTER[what])
        load_bundle(bundle, check="hashes")
        for proof in (verify_bundle, load_bundle):
            with pytest.raises(BundleError, match=r"verdicts\.json|golden text"):
                proof(bundle)

    @pytest.mark.parametrize("what", [what for what in CHANGES_OF_THE_FILTER if "positive" not in what])
    def test_the_verdicts_alone_show_it_where_the_recorded_hash_was_changed_too(self, bundle, what):
        """An attacker may know all the places where the filter's hash is stored."""
        change_filter(bundle, CHANGES_OF_THE_FILTER[what])
        manifest, _ = read_manifest(bundle)
        change_json(bundle, "verdicts.json", put(manifest.filter_hash, "identity", "filter_hash"))
        with pytest.raises(
            BundleError, match=r"verdicts\.json: (scores .*: the verdict is|the text .*: found by|its rows)"
        ):
            load_bundle(bundle, check="hashes").prove_verdicts(whole=False)

    def test_the_message_says_the_scores_and_both_verdicts(self, bundle):
        change_filter(bundle, put(4.0, "gates", 0, "cap"))
        manifest, _ = read_manifest(bundle)
        change_json(bundle, "verdicts.json", put(manifest.filter_hash, "identity", "filter_hash"))
        said = r"scores gain \S+, near \S+: the verdict is \w+ \S+ with gate 1, recorded was \w+ 3 with gate 1"
        with pytest.raises(BundleError, match=rf"verdicts\.json: {said}"):
            load_bundle(bundle, check="hashes").prove_verdicts(whole=False)

    def test_rows_that_were_left_out_are_missed(self, bundle):
        change_json(bundle, "verdicts.json", lambda content: content["decisions"].pop(5))
        load_bundle(bundle)
        with pytest.raises(BundleError, match="its rows of scores are not those that the filter's rules ask for"):
            verify_bundle(bundle)

    def test_texts_that_were_left_out_are_missed(self, bundle):
        change_json(bundle, "verdicts.json", lambda content: content["words"].pop())
        with pytest.raises(BundleError, match="its texts are not those that the filter's terms ask for"):
            verify_bundle(bundle)


class TestCalibration:
    @pytest.mark.parametrize("place", [0, 49, 94, 97, 99, 100])
    def test_an_interval_of_any_level_that_was_changed_is_refused(self, bundle, place):
        """Golden texts only cover the interval at 90%."""

        def widen(content):
            content["curves"][1]["widths"][place] = (content["curves"][1]["widths"][place] or 7.0) * 1.001 + 0.001

        change_json(bundle, "calibration.json", widen)
        for proof in (verify_bundle, load_bundle):
            with pytest.raises(BundleError, match=r"verdicts\.json: near: the factor of the interval at [\d.]+% is"):
                proof(bundle)

    def test_a_curve_that_turns_where_no_golden_text_is_scored_is_refused(self, bundle):
        curve = {"method": "linear", "x": [-40.0, 10.0, 10.4], "y": [-40.0, 10.0, 10.1]}
        change_json(bundle, "calibration.json", lambda content: content["curves"][0].update(curve))
        with pytest.raises(BundleError, match="gain"):
            load_bundle(bundle)

    def test_when_to_ask_the_oracle_cannot_be_changed(self, bundle):
        def surer(content):
            content["abstention"]["wrong"] = [0] * len(content["abstention"]["wrong"])

        change_json(bundle, "calibration.json", surer)
        with pytest.raises(BundleError, match="when to ask the oracle is not as recorded"):
            load_bundle(bundle)

    @pytest.mark.parametrize(
        "change",
        [
            lambda content: content["residuals"]["rows"][3].__setitem__(1, content["residuals"]["rows"][3][1] + 0.001),
            lambda content: content["residuals"]["rows"].reverse(),
            lambda content: content["abstention"]["probabilities"].__setitem__(
                -1, content["abstention"]["probabilities"][-1] - 1e-5
            ),
            lambda content: content["abstention"]["kept"].__setitem__(-1, content["abstention"]["kept"][-1] - 1),
        ],
    )
    def test_no_single_residual_or_threshold_can_change(self, bundle, change):
        change_json(bundle, "calibration.json", change)
        with pytest.raises(BundleError, match="distances or the deferral table|when to ask the oracle"):  # noqa: RUF043
            load_bundle(bundle)

    def test_a_bundle_without_recorded_sums_is_read(self, bundle):
        change_json(bundle, "verdicts.json", lambda content: content.pop("sums"))
        assert load_bundle(bundle).manifest.recipe == "tfidf-ridge"

    def test_errors_that_were_made_a_little_smaller_are_refused_by_verify(self, bundle):
        def smaller(content):
            rows = content["residuals"]["rows"]
            content["residuals"]["rows"] = [[value * 0.9 for value in row] for row in rows]

        change_json(bundle, "calibration.json", smaller)
        with pytest.raises(BundleError, match="probabilit"):
            verify_bundle(bundle)

    @pytest.mark.parametrize("end", [{"low": -1.0}, {"high": 11.0}])
    def test_a_calibration_of_another_scale_is_refused(self, bundle, end):
        change_json(bundle, "calibration.json", lambda content: content.update(end))
        with pytest.raises(BundleError, match=r"calibration\.json: for a scale from .*; the filter's is from 0 to 10"):
            load_bundle(bundle, check="hashes")


class TestManifest:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"filter": "better-news"}, "names the filter better-news v3; filter.yaml is good-news v3"),
            ({"filter_version": 4}, "names the filter good-news v4; filter.yaml is good-news v3"),
            ({"recipe": "minilm-lora"}, "recipe: the bundle says minilm-lora, recorded was tfidf-ridge"),
        ],
    )
    def test_what_it_says_of_the_bundle_is_held_against_the_other_files(self, bundle, change, message):
        rehash(bundle, **change)
        for proof in (verify_bundle, load_bundle):
            with pytest.raises(BundleError, match=message):
                proof(bundle)

    @pytest.mark.parametrize("field", ["backbone", "backbone_sha256"])
    def test_another_backbones_name_or_hash_is_refused(self, originals, tmp_path, field):
        bundle = shutil.copytree(originals["neural"], tmp_path / "bundle")
        manifest, _ = read_manifest(bundle)
        rehash(bundle, encoders=(manifest.encoders[0].model_copy(update={field: "f" * 64}),))
        with pytest.raises(BundleError, match="encoders: the bundle says"):
            load_bundle(bundle)

    @pytest.mark.parametrize("name", ["raw", "exact"])
    def test_no_bundle_may_allow_itself_more_than_potstill_allows(self, bundle, name):
        manifest, _ = read_manifest(bundle)
        for allowed in (1e308, getattr(manifest.tolerance, name) * 1.01):
            rehash(bundle, tolerance=manifest.tolerance.model_copy(update={name: allowed}))
            with pytest.raises(BundleError, match=rf"bundle\.json: tolerance -> {name}: .*; no bundle may allow more"):
                load_bundle(bundle, check="hashes")

    def test_a_bundle_of_an_older_potstill_is_to_be_made_again(self, bundle):
        content = read_json(bundle / "bundle.json")
        content["files"].pop("verdicts.json")
        (bundle / "verdicts.json").unlink()
        write_json(bundle / "bundle.json", content | {"schema_version": 1})
        with pytest.raises(BundleError, match=r"an older potstill wrote it; make it again: potstill bundle RUN$"):
            load_bundle(bundle)


class TestNumbers:
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_weight_that_is_not_finite_and_that_no_golden_text_meets_is_refused(self, bundle, value):
        arrays = load_arrays(bundle / "student.safetensors")
        weights = arrays["characters.weights"].copy()
        weights[-1, 0] = value
        save_arrays(arrays | {"characters.weights": weights}, bundle / "student.safetensors")
        rehash(bundle)
        with pytest.raises(
            BundleError, match=r"student\.safetensors: characters\.weights holds a number .* not finite"
        ):
            load_bundle(bundle, check="hashes")

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_nor_may_a_networks_weight_be_that_no_golden_text_reads(self, originals, tmp_path, value):
        onnx = pytest.importorskip("onnx")
        from onnx import numpy_helper

        bundle = shutil.copytree(originals["neural"], tmp_path / "bundle")
        graph = onnx.load(bundle / "model.onnx")
        words = max(graph.graph.initializer, key=lambda tensor: tensor.dims[0] if len(tensor.dims) == 2 else 0)
        weights = numpy_helper.to_array(words).copy()
        weights[-1, 3] = value
        words.CopyFrom(numpy_helper.from_array(weights, words.name))
        onnx.save(graph, bundle / "model.onnx")
        rehash(bundle)
        for proof in (verify_bundle, load_bundle):
            with pytest.raises(
                BundleError, match=r"model\.onnx: .*word_embeddings.* contains NaN or an infinite number"
            ):
                proof(bundle)


def test_the_record_says_what_it_proves(bundle):
    found = Verdicts.from_file(bundle / "verdicts.json")
    assert found.identity.recipe == "tfidf-ridge"
    assert found.identity.positive_tiers == ("lead",)
    texts = {one.text: (one.drops, one.caps) for one in found.words}
    assert texts["Qzx git clone vqj"] == ((0,), ())
    assert texts["Qzx next tesla vqj"] == ((0,), ())
    assert texts["Qzx git clone vqj newspaper vqj"] == ((), ())
    assert texts["Qzx sponsored content vqj"] == ((), (0,))
    assert verify_bundle(bundle).golden_verdicts == len(found.decisions) + len(found.words)

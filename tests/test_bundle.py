import dataclasses
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import (
    FILTER,
    calibration_of,
    examples,
    golden,
    neural_bundle,
    neural_student,
    tfidf_bundle,
    tfidf_student,
    with_head,
)
from tiny_network import tiny_tokenizer

from potstill.bundle import BUNDLE_LAYOUT, load_bundle, verify_bundle, write_bundle
from potstill.bundle.facts import BundleFacts
from potstill.bundle.golden import TEXTS, word_lists
from potstill.bundle.layout import read_manifest, write_manifest
from potstill.errors import BundleError
from potstill.files import canonical, read_json, sha256, write_json
from potstill.filters import save_filter
from potstill.students.storage import load_arrays, save_arrays, save_student

FILES = {
    "tfidf": {
        "bundle.json", "filter.yaml", "rubric.md", "student.json", "student.safetensors", "calibration.json",
        "golden.jsonl", "verdicts.json", "facts.json",
    },
}  # fmt: skip
FILES["neural"] = FILES["tfidf"] | {"model.onnx", "tokenizer.json"}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    (folder / "scratch").mkdir()
    return {
        "tfidf": tfidf_bundle(folder / "tfidf").folder,
        "neural": neural_bundle(folder / "neural", folder / "scratch").folder,
    }


@pytest.fixture(params=["tfidf", "neural"])
def kind(request):
    return request.param


@pytest.fixture
def bundle(originals, kind, tmp_path):
    return shutil.copytree(originals[kind], tmp_path / "bundle")


def rehashed(folder):
    """Act like a forger: write a manifest with hashes of the current files."""
    manifest, _ = read_manifest(folder)
    files = {name: sha256(folder / name) for name in manifest.files}
    write_manifest(folder, manifest.model_copy(update={"files": files}))
    load_bundle(folder, check="hashes")
    return folder


def change_arrays(folder, change):
    arrays = load_arrays(folder / "student.safetensors")
    save_arrays(change({name: array.copy() for name, array in arrays.items()}), folder / "student.safetensors")


def change_json(folder, name, change):
    content = read_json(folder / name)
    change(content)
    write_json(folder / name, content)


class TestWhole:
    def test_a_bundle_holds_the_declared_files_and_loads(self, bundle, kind):
        assert {path.name for path in bundle.iterdir()} == FILES[kind]
        assert load_bundle(bundle).filter == FILTER

    def test_it_says_what_the_trainers_student_says(self, bundle, kind):
        student = tfidf_student() if kind == "tfidf" else neural_student()
        frame = examples(60, seed=9).frame
        np.testing.assert_allclose(load_bundle(bundle).student.predict(frame), student.predict(frame), atol=1e-3)

    def test_verifying_runs_every_golden_text_and_says_how_near_it_came(self, bundle):
        found = verify_bundle(bundle)
        assert found.golden_texts == len(golden(examples()))
        assert found.largest_difference < found.allowed_difference == pytest.approx(0.001)

    def test_loading_runs_six_short_golden_texts_of_which_three_are_word_lists(self, bundle):
        short = [row.id for row in load_bundle(bundle).golden if row.short]
        assert short == ["library", "markets", "german", "words-0", "words-1", "words-2"]

    def test_the_same_bundle_is_written_byte_for_byte_again(self, originals, tmp_path):
        again = tfidf_bundle(tmp_path / "again")
        assert again.hash == load_bundle(originals["tfidf"]).hash

    def test_it_may_be_moved_and_renamed(self, bundle, tmp_path):
        moved = bundle.rename(tmp_path / "ein Bündel")
        assert load_bundle(moved, check="all").facts == BundleFacts()


class TestDamage:
    def test_one_flipped_bit_in_any_file_is_found_and_the_file_is_named(self, bundle, kind):
        rng = np.random.default_rng(0)
        for name in sorted(FILES[kind]):
            path = bundle / name
            whole = path.read_bytes()
            for place in {0, len(whole) - 1, *rng.integers(0, len(whole), 8).tolist()}:
                damaged = bytearray(whole)
                damaged[place] ^= 1 << int(rng.integers(0, 8))
                path.write_bytes(damaged)
                with pytest.raises(BundleError, match=name):
                    load_bundle(bundle, check="hashes")
            path.write_bytes(whole)
        load_bundle(bundle)

    def test_every_single_byte_of_the_manifest_counts(self, originals, tmp_path):
        path = shutil.copytree(originals["tfidf"], tmp_path / "bundle") / "bundle.json"
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(BundleError, match=r"bundle\.json"):
                read_manifest(path.parent)

    @pytest.mark.parametrize("change", [lambda text: text + " ", lambda text: text.replace("  ", " "), lambda _: "[]"])
    def test_another_spelling_of_the_same_manifest_is_found(self, bundle, change):
        path = bundle / "bundle.json"
        path.write_text(change(path.read_text()))
        with pytest.raises(BundleError, match=r"bundle\.json"):
            load_bundle(bundle)

    def test_a_missing_file_is_named(self, bundle, kind):
        for name in sorted(FILES[kind]):
            kept = (bundle / name).read_bytes()
            (bundle / name).unlink()
            with pytest.raises(BundleError, match=name):
                load_bundle(bundle)
            (bundle / name).write_bytes(kept)

    @pytest.mark.parametrize("name", ["model.pkl", ".hidden", "model-1.onnx", "filter.yaml.bak"])
    def test_an_extra_file_is_named(self, bundle, name):
        (bundle / name).write_text("x")
        with pytest.raises(BundleError, match=name.replace(".", r"\.")):
            load_bundle(bundle)

    def test_an_extra_folder_is_named(self, bundle):
        (bundle / "encoder").mkdir()
        with pytest.raises(BundleError, match="encoder: is no part of the bundle"):
            load_bundle(bundle)

    def test_a_truncated_file_is_named(self, bundle):
        path = bundle / "student.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(BundleError, match=r"student\.safetensors"):
            load_bundle(bundle)

    @pytest.mark.parametrize("place", ["nowhere", "bundle.json"])
    def test_what_is_no_bundle_says_so(self, bundle, place):
        with pytest.raises(BundleError, match="not a bundle"):
            load_bundle(bundle / place)

    def test_one_of_a_newer_potstill_is_refused(self, bundle):
        write_json(bundle / "bundle.json", {"schema_version": 3, "news": True})
        with pytest.raises(BundleError, match="newer than this potstill"):
            load_bundle(bundle)


class TestForgery:
    """The hashes are recomputed each time, so that only the contents can reveal the change."""

    def test_a_removed_tensor_is_named(self, bundle, kind):
        gone = {"tfidf": "words.idf", "neural": "head.bias"}[kind]
        change_arrays(bundle, lambda arrays: {name: array for name, array in arrays.items() if name != gone})
        manifest, _ = read_manifest(bundle)
        files = {name: sha256(bundle / name) for name in manifest.files}
        write_manifest(bundle, manifest.model_copy(update={"files": files}))
        with pytest.raises(BundleError, match=rf"student\.safetensors.*{gone.removeprefix('head.')}"):
            load_bundle(bundle)

    @pytest.mark.parametrize("change", [lambda array: array[:1], lambda array: array[None], lambda array: array[:0]])
    def test_arrays_of_other_shapes_are_refused(self, bundle, change):
        change_arrays(
            bundle,
            lambda arrays: {
                name: change(array) if name.endswith("weights") else array for name, array in arrays.items()
            },
        )
        manifest, _ = read_manifest(bundle)
        files = {name: sha256(bundle / name) for name in manifest.files}
        write_manifest(bundle, manifest.model_copy(update={"files": files}))
        with pytest.raises(BundleError, match=r"student\.safetensors|golden text"):
            load_bundle(bundle, check="all")

    def test_a_zeroed_head_is_refused_by_the_golden_texts(self, bundle):
        change_arrays(
            bundle,
            lambda arrays: {name: array * 0 if name.endswith("weights") else array for name, array in arrays.items()},
        )
        with pytest.raises(BundleError, match=r"golden text .*: raw gain"):
            load_bundle(rehashed(bundle))

    def test_two_dimensions_of_the_head_swapped_are_refused_by_the_golden_texts(self, bundle):
        swapped = {"bias", "head.bias", "words.weights", "characters.weights", "head.weights"}
        change_arrays(
            bundle,
            lambda arrays: {name: array[..., ::-1] if name in swapped else array for name, array in arrays.items()},
        )
        with pytest.raises(BundleError, match=r"golden text .*: raw"):
            load_bundle(rehashed(bundle))

    def test_two_dimensions_swapped_everywhere_by_name_are_refused_by_the_golden_texts(self, bundle):
        """The order is changed in filter, student, calibration and manifest alike, so only the scores can reveal it."""
        other = FILTER.model_copy(update={"dimensions": dict(reversed(FILTER.dimensions.items()))})
        save_filter(other, bundle)
        change_json(bundle, "student.json", lambda content: content["dimensions"].reverse())
        change_json(bundle, "calibration.json", lambda content: content["curves"].reverse())
        manifest, _ = read_manifest(bundle)
        changes = {"dimensions": other.dimension_names, "filter_hash": other.content_hash}
        write_manifest(bundle, manifest.model_copy(update=changes))
        manifest, _ = read_manifest(bundle)
        files = {name: sha256(bundle / name) for name in manifest.files}
        write_manifest(bundle, manifest.model_copy(update={"files": files}))
        load_bundle(bundle, check="hashes")
        with pytest.raises(BundleError, match=r"golden text .*: raw"):
            load_bundle(bundle)

    @pytest.mark.parametrize("name", ["student.json", "filter.yaml", "calibration.json"])
    def test_two_dimensions_swapped_in_one_file_do_not_fit_the_others(self, bundle, name):
        if name == "filter.yaml":
            save_filter(FILTER.model_copy(update={"dimensions": dict(reversed(FILTER.dimensions.items()))}), bundle)
        else:
            key = {"student.json": "dimensions", "calibration.json": "curves"}[name]
            change_json(bundle, name, lambda content: content[key].reverse())
        manifest, _ = read_manifest(bundle)
        files = {file: sha256(bundle / file) for file in manifest.files}
        write_manifest(bundle, manifest.model_copy(update={"files": files}))
        with pytest.raises(BundleError, match=name):
            load_bundle(bundle)

    def test_a_calibration_with_another_curve_is_refused_by_the_golden_texts(self, bundle):
        def bend(content):
            content["curves"][0] |= {"method": "linear", "x": [0.0, 10.0], "y": [0.0, 9.0]}

        change_json(bundle, "calibration.json", bend)
        with pytest.raises(BundleError, match=r"golden text .*: score gain .*calibration\.json"):
            load_bundle(rehashed(bundle))

    def test_a_calibration_that_promises_narrower_intervals_is_refused_by_the_golden_texts(self, bundle):
        def narrow(content):
            for curve in content["curves"]:
                curve["widths"] = [width and width / 10 for width in curve["widths"]]

        change_json(bundle, "calibration.json", narrow)
        with pytest.raises(BundleError, match=r"golden text .*: (low|high)"):
            load_bundle(rehashed(bundle))

    def test_a_student_said_to_err_less_than_it_does_is_refused_by_the_golden_texts(self, bundle):
        def surer(content):
            content["residuals"]["rows"] = [[value / 10 for value in row] for row in content["residuals"]["rows"]]

        change_json(bundle, "calibration.json", surer)
        with pytest.raises(BundleError, match=r"golden text .*: probability"):
            load_bundle(rehashed(bundle), check="all")

    def test_residuals_left_out_are_refused_by_the_golden_texts(self, bundle):
        change_json(
            bundle, "calibration.json", lambda content: content.update(residuals=None, abstention=None, decisions=None)
        )
        with pytest.raises(BundleError, match=r"golden text .*: probability is None"):
            load_bundle(rehashed(bundle))

    def test_another_runs_calibration_is_refused_by_the_golden_texts(self, bundle, kind):
        student = tfidf_student(seed=3) if kind == "tfidf" else neural_student(seed=3)
        write_json(bundle / "calibration.json", calibration_of(student, seed=5).model_dump(mode="json"))
        with pytest.raises(BundleError, match="golden text"):
            load_bundle(rehashed(bundle))

    def test_another_tokenizer_is_refused_by_the_golden_texts(self, originals, tmp_path):
        bundle = shutil.copytree(originals["neural"], tmp_path / "bundle")
        (bundle / "tokenizer.json").write_text(tiny_tokenizer(seed=7).backend_tokenizer.to_str())
        with pytest.raises(BundleError, match=r"golden text .*: raw"):
            load_bundle(rehashed(bundle))

    def test_another_vocabulary_is_refused_by_the_golden_texts(self, originals, tmp_path):
        """A TF-IDF student's tokenizer is its vocabulary."""
        bundle = shutil.copytree(originals["tfidf"], tmp_path / "bundle")
        change_arrays(bundle, lambda arrays: arrays | {"words.keys": np.roll(arrays["words.keys"], 1)})
        with pytest.raises(BundleError, match=r"golden text .*: raw"):
            load_bundle(rehashed(bundle), check="all")

    def test_another_network_is_refused_by_the_golden_texts(self, originals, tmp_path):
        bundle = shutil.copytree(originals["neural"], tmp_path / "bundle")
        (tmp_path / "scratch").mkdir()
        other = neural_bundle(tmp_path / "other", tmp_path / "scratch", seed=1).folder
        shutil.copyfile(other / "model.onnx", bundle / "model.onnx")
        with pytest.raises(BundleError, match=r"golden text .*: raw"):
            load_bundle(rehashed(bundle))

    def test_another_filter_with_the_right_hash_is_refused_by_the_golden_texts(self, bundle):
        gate = FILTER.gates[0].model_copy(update={"cap": 0.5})
        other = FILTER.model_copy(update={"gates": (gate,)})
        save_filter(other, bundle)
        manifest, _ = read_manifest(bundle)
        files = {name: sha256(bundle / name) for name in manifest.files}
        write_manifest(bundle, manifest.model_copy(update={"files": files, "filter_hash": other.content_hash}))
        with pytest.raises(BundleError, match=r"golden text .*the filter's are|verdicts\.json: filter_hash"):
            load_bundle(bundle, check="all")

    def test_a_filter_that_the_manifest_does_not_name_is_named(self, bundle):
        save_filter(FILTER.model_copy(update={"version": 4}), bundle)
        manifest, _ = read_manifest(bundle)
        files = {name: sha256(bundle / name) for name in manifest.files}
        write_manifest(bundle, manifest.model_copy(update={"files": files}))
        with pytest.raises(BundleError, match=r"filter\.yaml: is not the filter"):
            load_bundle(bundle)

    @pytest.mark.parametrize("content", ["", "{}\n", "not json\n"])
    def test_golden_texts_that_are_gone_or_broken_are_named(self, bundle, content):
        (bundle / "golden.jsonl").write_text(content)
        with pytest.raises(BundleError, match=r"golden\.jsonl"):
            load_bundle(rehashed(bundle))

    @pytest.mark.parametrize("name", ["student.json", "student.safetensors", "calibration.json", "filter.yaml"])
    def test_a_renamed_key_is_named(self, bundle, name):
        path = bundle / name
        old, new = {
            "student.json": (b'"settings"', b'"sittings"'),
            "student.safetensors": (b"bias", b"bios"),
            "calibration.json": (b'"curves"', b'"curbes"'),
            "filter.yaml": (b"tiers:", b"tears:"),
        }[name]
        path.write_bytes(path.read_bytes().replace(old, new, 1))
        manifest, _ = read_manifest(bundle)
        files = {file: sha256(bundle / file) for file in manifest.files}
        write_manifest(bundle, manifest.model_copy(update={"files": files}))
        with pytest.raises(BundleError, match=name.replace(".", r"\.")):
            load_bundle(bundle)


class TestWriting:
    def test_a_bundle_that_does_not_prove_itself_is_not_written_and_the_old_one_stays(self, originals, tmp_path):
        bundle = shutil.copytree(originals["tfidf"], tmp_path / "bundle")
        before = load_bundle(bundle).hash

        class Moody:
            """A student that gives different scores in each call."""

            kind, dimensions = "tfidf-ridge", FILTER.dimension_names

            def __init__(self):
                self.inner = tfidf_student()

            def predict(self, frame):
                return self.inner.predict(frame) + 0.01

            arrays = property(lambda self: self.inner.arrays)
            settings = property(lambda self: self.inner.settings)

        with pytest.raises(BundleError, match="golden text"):
            write_bundle(
                bundle, student=Moody(), recipe="x", filter_=FILTER, calibration=calibration_of(tfidf_student()),
                golden=TEXTS
            )  # fmt: skip
        assert load_bundle(bundle).hash == before
        assert [path.name for path in tmp_path.iterdir()] == ["bundle"]

    def test_a_student_that_gives_nan_is_not_written(self, tmp_path):
        student = tfidf_student()
        broken = dataclasses.replace(student, bias=student.bias * np.nan)
        with pytest.raises(BundleError, match="golden text library: the student's gain is nan"):
            write_bundle(
                tmp_path / "bundle", student=broken, recipe="x", filter_=FILTER, golden=TEXTS,
                calibration=calibration_of(student)
            )  # fmt: skip
        assert not list(tmp_path.iterdir())

    def test_the_golden_texts_can_tell_a_zeroed_head(self):
        student = neural_student()
        zeroed = with_head(student, weights=student.head.weights * 0)
        frame = examples(20).frame
        assert np.abs(student.predict(frame) - zeroed.predict(frame)).max() > 0.1


class TestGoldenTexts:
    def test_they_are_short_long_nearly_empty_and_in_several_scripts(self):
        whole = "".join(text.title + text.content for text in TEXTS)
        assert any(len(text.content) > 10_000 for text in TEXTS)
        assert any(len(text.content) == 1 for text in TEXTS)
        assert all(any(low <= character <= high for character in whole) for low, high in ("一鿿", "ऀॿ", "؀ۿ", "Ѐӿ"))

    def test_word_lists_hold_only_words_that_three_texts_share(self):
        texts = ["the secret of Anna", "the price of bread", "the taste of bread", "the bread"]
        lists = word_lists(texts, seed=0)
        assert set(" ".join(text.content for text in lists).split()) == {"the", "of", "bread"}

    def test_texts_without_common_words_make_no_lists(self):
        assert word_lists(["one", "two"], seed=0) == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    )
)
def test_canonical_json_has_one_spelling(value):
    try:
        text = canonical(value)
        text.encode()
    except UnicodeEncodeError:
        return
    assert canonical(json.loads(text)) == text


def test_the_layout_has_a_name_for_each_file_once():
    assert len(set(BUNDLE_LAYOUT.values())) == len(BUNDLE_LAYOUT)


def test_a_student_saved_beside_its_encoder_says_nothing_of_it(tmp_path):
    save_student(neural_student(), tmp_path, encoder_beside=True)
    assert {path.name for path in tmp_path.iterdir()} == {"student.json", "student.safetensors"}
    assert read_json(tmp_path / "student.json")["settings"]["encoder"] == {}

import json

import numpy as np
import pytest
from headlines import LetterEncoder, headlines

from potstill.errors import BundleError
from potstill.files import read_json, write_json
from potstill.students.constant import fit_constant
from potstill.students.neural import fit_encoder_head
from potstill.students.recipes import load_recipe
from potstill.students.source_median import fit_source_median
from potstill.students.storage import load_arrays, load_student, save_arrays, save_student
from potstill.students.tfidf import fit_tfidf

FIT = {
    "constant": fit_constant,
    "source-median": fit_source_median,
    "tfidf-ridge": fit_tfidf,
    "minilm-ridge": lambda recipe, train: fit_encoder_head(recipe, train, encoder=LetterEncoder()),
    "minilm-svr": lambda recipe, train: fit_encoder_head(recipe, train, encoder=LetterEncoder()),
    "minilm-rbf": lambda recipe, train: fit_encoder_head(recipe, train, encoder=LetterEncoder()),
    "minilm-median": lambda recipe, train: fit_encoder_head(recipe, train, encoder=LetterEncoder()),
    "tfidf-median": fit_tfidf,
}


@pytest.mark.parametrize("name", FIT)
def test_a_student_comes_back_with_the_same_scores_bit_for_bit(name, tmp_path):
    train = headlines(masked=True)
    student = FIT[name](load_recipe(name), train)
    save_student(student, tmp_path)
    again = load_student(tmp_path, LetterEncoder() if "minilm" in name else None)
    assert again.dimensions == train.dimensions
    assert again.predict(train.frame).tobytes() == student.predict(train.frame).tobytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["student.json", "student.safetensors"]


def test_a_head_without_any_support_vector_comes_back(tmp_path):
    train = headlines()
    train.scores[:] = 3.0
    student = FIT["minilm-svr"](load_recipe("minilm-svr"), train)
    assert student.head.vectors.shape == (0, 5)
    save_student(student, tmp_path)
    assert load_student(tmp_path, LetterEncoder()).predict(train.frame) == pytest.approx(train.scores)


@pytest.fixture
def saved(tmp_path):
    save_student(fit_constant(load_recipe("constant"), headlines()), tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "newer than this potstill reads"),
        ({"schema_version": "1"}, "schema_version: expected a whole number"),
        ({"kind": "oracle"}, "unknown kind of student 'oracle'"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"kind": "tfidf-ridge"}, "'spans' is missing"),
        ({"kind": ["constant"]}, "kind: .* valid string"),
        ({"kind": "neural"}, "'encoder' is missing from the settings"),
        ({"kind": "neural", "settings": {"encoder": {"width": -1}}}, r"student\.json: cannot be used"),
        ({"kind": "blend", "settings": {"members": 3}}, "do not fit together"),
        ({"dimensions": "calm"}, "dimensions: .* valid array"),
        ({"dimensions": []}, "dimensions: .* at least 1"),
        ({"settings": []}, "settings: .* object"),
    ],
)
def test_facts_that_do_not_fit_are_refused_by_name(saved, change, message):
    path = saved / "student.json"
    write_json(path, read_json(path) | change)
    with pytest.raises(BundleError, match=message):
        load_student(saved)


def test_a_cut_array_file_is_refused_by_name(saved):
    path = saved / "student.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(BundleError, match=r"student.safetensors: not a whole safetensors file"):
        load_student(saved)


def test_a_missing_array_file_is_refused_by_name(saved):
    (saved / "student.safetensors").unlink()
    with pytest.raises(BundleError, match=r"student.safetensors: no such file"):
        load_student(saved)


def test_what_is_written_is_the_same_every_time(saved, tmp_path):
    first = (saved / "student.safetensors").read_bytes(), (saved / "student.json").read_bytes()
    save_student(fit_constant(load_recipe("constant"), headlines()), tmp_path)
    assert ((saved / "student.safetensors").read_bytes(), (saved / "student.json").read_bytes()) == first
    assert json.loads(first[1])["kind"] == "constant"


def test_others_may_read_what_is_written(saved):
    assert (saved / "student.safetensors").stat().st_mode & 0o444 == (saved / "student.json").stat().st_mode & 0o444


@pytest.mark.parametrize("content", ["[" * 100_000, '{"schema_version": ' + "1" * 5000 + "}", "{", "[]", "\xff"])
def test_facts_that_are_no_json_within_the_bounds_are_refused_by_name(saved, content):
    (saved / "student.json").write_text(content, encoding="latin-1")
    with pytest.raises(BundleError, match=r"student\.json: "):
        load_student(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_array_with_a_number_that_is_not_finite_is_refused_by_name(saved, value):
    values = load_arrays(saved / "student.safetensors")["values"].copy()
    values[-1] = value
    save_arrays({"values": values}, saved / "student.safetensors")
    with pytest.raises(BundleError, match=r"student\.safetensors: values holds a number that is not finite"):
        load_student(saved)


def changed_span(span):
    return lambda facts, _: facts["settings"]["spans"].update(words=span)


def changed_array(name, change):
    return lambda _, arrays: arrays.update({name: change(arrays[name])})


@pytest.mark.parametrize(
    "change",
    [
        changed_span([1, 10**9]),
        changed_span([0, 1]),
        changed_span([2, 1]),
        changed_span(["1", "2"]),
        changed_span([1]),
        changed_array("words.idf", lambda array: array[:-1]),
        changed_array("words.keys", lambda array: array[:-1]),
        changed_array("words.keys", lambda array: array.astype(np.float64)),
        changed_array("characters.weights", lambda array: array[:, :1]),
        changed_array("words.symbols", lambda array: array + 128),
        changed_array("words.offsets", lambda array: array.astype(np.float32)),
        changed_array("characters.offsets", lambda array: array[::2]),
        changed_array("bias", lambda array: array[:-1]),
        changed_array("bias", lambda array: array > 0),
        changed_array("bias", lambda array: array[None]),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused_before_a_text_could_meet_it(tmp_path, change):
    save_student(fit_tfidf(load_recipe("tfidf-ridge"), headlines()), tmp_path)
    facts, arrays = read_json(tmp_path / "student.json"), load_arrays(tmp_path / "student.safetensors")
    change(facts, arrays)
    write_json(tmp_path / "student.json", facts)
    save_arrays(arrays, tmp_path / "student.safetensors")
    with pytest.raises(BundleError, match=r"student\."):
        load_student(tmp_path)


def test_an_array_that_the_student_does_not_have_is_refused_by_name(saved):
    path = saved / "student.safetensors"
    save_arrays({**load_arrays(path), "hidden": np.ones(3)}, path)
    with pytest.raises(BundleError, match=r"student\.safetensors: arrays that the student does not have: hidden"):
        load_student(saved)

"""Tests of blends of several students: scores, input, saving and loading."""

import json

import numpy as np
import pytest
from headlines import LetterEncoder, headlines

from potstill.errors import BundleError, RecipeError
from potstill.files import read_json, write_json
from potstill.students import Student
from potstill.students.blend import BlendStudent, encoder_of
from potstill.students.chunks import Chunks
from potstill.students.constant import fit_constant
from potstill.students.neural import JoinedEncoder, NeuralStudent, fit_encoder_head, member_encoder
from potstill.students.recipes import EncoderHeadRecipe, RidgeHead, load_recipe, parse_recipe, presets
from potstill.students.storage import load_arrays, load_student, save_arrays, save_student
from potstill.students.tfidf import fit_tfidf

LETTERS = EncoderHeadRecipe(name="letters", student="encoder-head", head=RidgeHead(kind="ridge"))
WEIGHTS = np.array([[0.5, 0.2], [0.25, 0.3], [0.25, 0.5]])


class Counting(LetterEncoder):
    """An encoder with a description and nothing to save, which counts how often it is used."""

    calls = 0

    def settings(self):
        return {"letters": self.letters}

    def save(self, folder):
        pass

    def encode(self, texts):
        self.calls += 1
        return super().encode(texts)


def blend(encoder=None, train=None):
    """Return a blend of TF-IDF, vowels, and all letters of both encoders together."""
    train = train or headlines(masked=True)
    vowels, others = encoder or Counting("aeiou"), Counting("bcdf")
    return BlendStudent(
        train.dimensions,
        (
            fit_tfidf(load_recipe("tfidf-ridge"), train),
            fit_encoder_head(LETTERS, train, encoder=vowels),
            fit_encoder_head(LETTERS, train, encoder=JoinedEncoder((others, vowels))),
        ),
        WEIGHTS,
    )


def test_says_the_weighted_mean_of_its_members():
    student = blend()
    frame = headlines().frame
    assert isinstance(student, Student)
    own = np.array([member.predict(frame) for member in student.members])
    assert student.predict(frame) == pytest.approx(np.einsum("md,mrd->rd", WEIGHTS, own))


def test_members_share_what_an_encoder_read():
    encoder = Counting()
    student = blend(encoder)
    before = encoder.calls
    student.predict(headlines().frame)
    assert encoder.calls == before + 1
    assert [part.letters for part in student.parts] == ["aeiou", "bcdf"]
    assert student.encoder.width == 9


def test_a_member_that_reads_in_chunks_has_features_of_its_own():
    train = headlines()
    encoder = LetterEncoder()
    whole = fit_encoder_head(LETTERS, train, encoder=encoder)
    parted = fit_encoder_head(LETTERS.model_copy(update={"chunks": Chunks(chars=120, most=4)}), train, encoder=encoder)
    student = BlendStudent(train.dimensions, (whole, parted), np.full((2, 2), 0.5))
    long = train.frame.with_columns(text=train.frame["text"] + " " + train.frame["text"] + " and so on")
    assert student.predict(long) == pytest.approx((whole.predict(long) + parted.predict(long)) / 2)


def test_comes_back_with_the_same_scores_bit_for_bit(tmp_path):
    student = blend()
    save_student(student, tmp_path)
    again = load_student(tmp_path, JoinedEncoder((LetterEncoder("aeiou"), LetterEncoder("bcdf"))))
    frame = headlines().frame
    assert again.predict(frame).tobytes() == student.predict(frame).tobytes()
    assert again.members[1].encoder is again.members[2].encoder.parts[1]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["student.json", "student.safetensors"]


def test_without_any_encoder_it_needs_none(tmp_path):
    train = headlines()
    members = (fit_tfidf(load_recipe("tfidf-ridge"), train), fit_constant(load_recipe("constant"), train))
    student = BlendStudent(train.dimensions, members, np.full((2, 2), 0.5))
    save_student(student, tmp_path)
    assert encoder_of(student) is None
    assert load_student(tmp_path).predict(train.frame).tobytes() == student.predict(train.frame).tobytes()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (WEIGHTS[:2], r"weights \(2, 2\) for 3 members and 2 dimensions"),
        (WEIGHTS * 2, "not those of a mean"),
        (WEIGHTS * np.nan, "weights holds a number that is not finite"),
        (np.array([[2.0, 1.0], [-1.0, 0.0], [0.0, 0.0]]), "not those of a mean"),
    ],
)
def test_weights_of_no_mean_are_refused(tmp_path, weights, message):
    save_student(blend(), tmp_path)
    arrays = load_arrays(tmp_path / "student.safetensors")
    save_arrays(arrays | {"weights": weights}, tmp_path / "student.safetensors")
    with pytest.raises(BundleError, match=message):
        load_student(tmp_path, JoinedEncoder((LetterEncoder("aeiou"), LetterEncoder("bcdf"))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda members: members[1]["settings"].update(encoder=[2]), "member 1 reads with encoders .2. of 2"),
        (lambda members: members[1].update(kind="source-median"), "a blend holds no student of kind 'source-median'"),
        (lambda members: members[1].update(kind="blend"), "a blend holds no student of kind 'blend'"),
        (lambda members: members[1]["settings"].update(encoder=[]), "a neural student, and no encoder for it"),
        (lambda members: members[1]["settings"].update(encoder=[1]), "5 wide; the encoder's are 4 wide"),
        (lambda members: members[0]["settings"].pop("alpha"), "'alpha' is missing from the settings"),
        (lambda members: members.pop(), "arrays that no member has: 2.head.bias"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, change, message):
    save_student(blend(), tmp_path)
    facts = read_json(tmp_path / "student.json")
    change(facts["settings"]["members"])
    write_json(tmp_path / "student.json", facts)
    with pytest.raises(BundleError, match=message):
        load_student(tmp_path, JoinedEncoder((LetterEncoder("aeiou"), LetterEncoder("bcdf"))))


def test_a_missing_array_of_a_member_is_told(tmp_path):
    save_student(blend(), tmp_path)
    arrays = load_arrays(tmp_path / "student.safetensors")
    save_arrays({name: arrays[name] for name in arrays if name != "0.bias"}, tmp_path / "student.safetensors")
    with pytest.raises(BundleError, match="the array 'bias' is missing"):
        load_student(tmp_path, JoinedEncoder((LetterEncoder("aeiou"), LetterEncoder("bcdf"))))


def test_reads_with_other_encoders_in_their_places():
    student = blend()
    other = student.on(JoinedEncoder((LetterEncoder("AEIOU".lower()), LetterEncoder("bcdf"))))
    frame = headlines().frame
    assert other.parts[0] is not student.parts[0]
    assert other.predict(frame).tobytes() == student.predict(frame).tobytes()


class TestRecipes:
    def test_name_presets_or_write_members_out(self):
        recipe = parse_recipe(
            "name: mine\nstudent: blend\nmembers:\n  - tfidf-median\n  - {name: other, student: constant}\n",
            "mine.yaml",
        )
        assert [member.name for member in recipe.members] == ["tfidf-median", "other"]
        assert parse_recipe(json.dumps(recipe.model_dump(mode="json")), "record") == recipe

    @pytest.mark.parametrize(
        ("members", "message"),
        [
            ("[tfidf-median]", "members: .* at least 2 items"),
            ("[tfidf-median, tfidf-median]", "tfidf-median is named twice"),
            ("[tfidf-median, minilm-full]", "minilm-full is a fine-tuned student"),
            ("[tfidf-median, source-median]", "source-median is a source-median student"),
            ("[tfidf-median, tfidf-e5-blend]", "tfidf-e5-blend is a blend student"),
            ("[tfidf-median, unheard-of]", "unheard-of: no such recipe"),
            ("tfidf-median", r"valid (tuple|array)"),
        ],
    )
    def test_are_refused_with_members_that_cannot_be(self, members, message):
        with pytest.raises(RecipeError, match=message):
            parse_recipe(f"name: mine\nstudent: blend\nmembers: {members}\n", "mine.yaml")

    def test_have_the_hash_of_what_they_do(self):
        recipe = load_recipe("tfidf-e5-blend")
        renamed = [member.model_copy(update={"name": f"x-{member.name}"}) for member in recipe.members]
        changed = [recipe.members[0], recipe.members[1].model_copy(update={"max_tokens": 128})]
        assert recipe.model_copy(update={"name": "other", "members": tuple(renamed)}).hash == recipe.hash
        assert recipe.model_copy(update={"members": tuple(changed)}).hash != recipe.hash
        assert recipe.model_copy(update={"weights": "equal"}).hash != recipe.hash

    def test_share_an_encoder_between_members_that_read_alike(self):
        # Both use e5 in the same way; the joined one also uses MiniLM.
        text = "name: mine\nstudent: blend\nmembers: [e5-median, minilm-e5-median, tfidf-median]\n"
        recipe = parse_recipe(text, "mine.yaml")
        e5, minilm = LetterEncoder("aeiou"), LetterEncoder("bcdf")
        encoder = JoinedEncoder((e5, minilm))
        places = recipe.members[1].backbones.index("multilingual-e5-small")
        assert member_encoder(recipe, recipe.members[0], encoder) is e5
        assert member_encoder(recipe, recipe.members[1], encoder).parts[places] is e5

    def test_that_ship_are_of_presets_that_ship(self):
        for name in presets():
            recipe = load_recipe(name)
            if recipe.student == "blend":
                assert {member.name for member in recipe.members} <= set(presets())


def test_a_neural_student_is_no_blend():
    student = fit_encoder_head(LETTERS, headlines(), encoder=LetterEncoder())
    assert isinstance(student, NeuralStudent)
    assert encoder_of(student) is student.encoder

import numpy as np
import polars as pl
import pytest
from headlines import LetterEncoder, headlines

from potstill.errors import BundleError, DatasetError
from potstill.students import Encoder, Student
from potstill.students.chunks import Chunks
from potstill.students.neural import JoinedEncoder, NeuralStudent, fit_encoder_head
from potstill.students.recipes import EncoderHeadRecipe, RidgeHead

RECIPE = EncoderHeadRecipe(name="letters", student="encoder-head", head=RidgeHead(kind="ridge"))


def test_fires_are_urgent_and_gardens_are_not():
    train = headlines(masked=True)
    student = fit_encoder_head(RECIPE, train, encoder=LetterEncoder())
    assert isinstance(student, Student)
    scores = student.predict(train.frame)
    assert scores.shape == (20, 2)
    assert scores[:10, 0].min() > scores[10:, 0].max()


def test_a_missing_text_scores_as_an_empty_one():
    student = fit_encoder_head(RECIPE, headlines(), encoder=LetterEncoder())
    scores = student.predict(pl.DataFrame({"text": [None, ""]}))
    assert scores[0].tolist() == scores[1].tolist()


def test_joined_encoders_stand_side_by_side():
    joined = JoinedEncoder((LetterEncoder("ae"), LetterEncoder("iou")))
    assert isinstance(joined, Encoder)
    assert joined.width == 5
    assert joined.encode(["audio"]).tolist() == [[1, 0, 1, 1, 1]]
    assert joined.truncated(["x" * 101, "x"]).tolist() == [True, False]
    head = fit_encoder_head(RECIPE, headlines(), encoder=joined).head
    assert head.centring.widths.tolist() == [2, 3]


def test_what_lies_beyond_an_encoders_room_is_read_in_chunks_and_still_is_after_a_restart():
    train = headlines()
    recipe = RECIPE.model_copy(update={"chunks": Chunks(chars=120, most=4)})
    student = fit_encoder_head(recipe, train, encoder=LetterEncoder())
    frame = pl.DataFrame({"text": [train.texts[0], (train.texts[0] + " ") * 3, (train.texts[0] + " ") * 40]})
    short, long, longer = student.predict(frame)
    assert long == pytest.approx(short, abs=0.2)
    assert longer == pytest.approx(short, abs=0.2)
    again = NeuralStudent.restore(student.dimensions, student.arrays(), student.settings(), LetterEncoder())
    assert again.predict(frame).tobytes() == student.predict(frame).tobytes()
    odd = student.settings() | {"pieces": {"chars": 1}}
    with pytest.raises(BundleError, match="pieces: chars: Input should be greater"):
        NeuralStudent.restore(student.dimensions, student.arrays(), odd, LetterEncoder())


def test_a_distribution_is_learned_and_comes_back():
    train = headlines(masked=True)
    student = fit_encoder_head(RECIPE.model_copy(update={"learns": "distribution"}), train, encoder=LetterEncoder())
    scores = student.predict(train.frame)
    assert scores[:10, 0].min() > scores[10:, 0].max()
    assert set(scores[10:, 0]) == {1.0}
    again = NeuralStudent.restore(student.dimensions, student.arrays(), student.settings(), LetterEncoder())
    assert again.predict(train.frame).tobytes() == scores.tobytes()


def test_a_head_of_another_width_is_refused():
    student = fit_encoder_head(RECIPE, headlines(), encoder=LetterEncoder())
    with pytest.raises(BundleError, match="5 wide; the encoder's are 3 wide"):
        NeuralStudent.restore(student.dimensions, student.arrays(), student.settings(), LetterEncoder("aei"))


def test_a_head_with_fewer_scores_than_dimensions_is_refused():
    student = fit_encoder_head(RECIPE, headlines(), encoder=LetterEncoder())
    with pytest.raises(BundleError, match="gives 2 scores for 3 dimensions"):
        NeuralStudent.restore(("a", "b", "c"), student.arrays(), student.settings(), LetterEncoder())


def test_a_dimension_without_labels_is_refused():
    train = headlines()
    train.scores[:, 0] = np.nan
    with pytest.raises(DatasetError, match="urgency"):
        fit_encoder_head(RECIPE, train, encoder=LetterEncoder())


def test_an_encoder_that_cannot_say_what_it_is_cannot_be_saved_as_a_part():
    with pytest.raises(BundleError, match="LetterEncoder cannot be saved"):
        JoinedEncoder((LetterEncoder(),)).settings()

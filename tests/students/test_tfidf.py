import dataclasses
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from headlines import headlines
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from potstill.errors import BundleError, DatasetError
from potstill.students import tfidf
from potstill.students.recipes import TfidfRecipe
from potstill.students.storage import load_student, save_student
from potstill.students.tfidf import Counted, Terms, fit_tfidf, learn_terms, symbols_of
from potstill.students.words import normalised, words_of

RECIPE = TfidfRecipe(name="tfidf", student="tfidf-ridge", alphas=(1.0,))
UNSEEN = [
    "Flames   near\tSYDNEY: crews race\n\nto save a rare garden",
    "",
    "zzz qqq",
    "股价下跌 消防员扑灭大火",
    "Ärzte öffnen den Garten 🌷 visitors",
    "a\0b spring",
]


def scikit_learn(train, alpha):
    vectorizers = [
        TfidfVectorizer(preprocessor=normalised, ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        TfidfVectorizer(preprocessor=normalised, analyzer="char", ngram_range=(3, 5), min_df=2, sublinear_tf=True),
    ]
    features = sparse.hstack([one.fit_transform(train.texts) for one in vectorizers])
    models = []
    for column in train.scores.T:
        known = ~np.isnan(column)
        models.append(Ridge(alpha=alpha, solver="sparse_cg", tol=1e-12).fit(features.tocsr()[known], column[known]))

    def predict(texts):
        rows = sparse.hstack([one.transform(texts) for one in vectorizers])
        return np.stack([model.predict(rows) for model in models], axis=1)

    return predict


def learnt(kind, span, texts, min_documents, max_features):
    """Return the vocabulary of some texts."""
    counted = Counted(symbols_of(kind, span, texts, min_documents), texts)
    return learn_terms(counted, min_documents, max_features)


@pytest.mark.parametrize("kept", [0, 10_000_000])
@pytest.mark.parametrize("masked", [False, True])
def test_scores_are_those_of_scikit_learn(masked, kept, monkeypatch):
    # The result is the same whether or not the counted n-grams are kept between passes.
    monkeypatch.setattr(tfidf, "MOST_KEPT", kept)
    train = headlines(masked=masked)
    student = fit_tfidf(RECIPE, train)
    texts = [*UNSEEN, *train.texts]
    assert student.predict(pl.DataFrame({"text": texts})) == pytest.approx(scikit_learn(train, 1.0)(texts), abs=1e-6)


def test_scores_are_those_of_scikit_learn_where_ridge_is_solved_by_conjugate_gradients(monkeypatch):
    monkeypatch.setattr(tfidf, "LARGEST_GRAM", 10)
    train = headlines(masked=True)
    student = fit_tfidf(RECIPE, train)
    assert student.predict(pl.DataFrame({"text": UNSEEN})) == pytest.approx(scikit_learn(train, 1.0)(UNSEEN), abs=1e-3)


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab cå大🌷\n", max_size=40), min_size=1, max_size=6), st.integers(1, 2))
def test_the_vocabulary_is_that_of_scikit_learn(texts, min_documents):
    for kind, span, vectorizer in (
        ("words", (1, 2), TfidfVectorizer(preprocessor=normalised, ngram_range=(1, 2), min_df=min_documents)),
        ("characters", (2, 4), TfidfVectorizer(
            preprocessor=normalised, analyzer="char", ngram_range=(2, 4), min_df=min_documents)),
    ):  # fmt: skip
        terms = learnt(kind, span, [normalised(text) for text in texts], min(min_documents, len(texts)), 10_000)
        try:
            expected = len(vectorizer.fit(texts).vocabulary_) if min_documents <= len(texts) else terms.keys.size
        except ValueError:  # scikit-learn raises it for texts without any term
            expected = 0
        assert terms.keys.size == expected


def test_the_commonest_terms_are_kept_where_there_are_too_many():
    terms = learnt("words", (1, 1), ["fire flood", "fire storm", "fire flood"], 1, 2)
    kept = [word for word in terms.symbols if terms.look_up(word)[0].size]
    assert kept == ["fire", "flood"]


def test_symbols_beyond_the_room_in_a_key_are_unknown_and_never_taken_for_others(monkeypatch):
    monkeypatch.setattr(tfidf, "bits_for", lambda _kind, _span: 2)
    terms = learnt("characters", (1, 1), ["aaabbcde", "aaabbc", "ab"], 1, 100)
    assert terms.symbols == ("a", "b", "c")
    assert terms.look_up("d")[0].size == 0


def test_a_headline_about_fire_is_more_urgent_than_one_about_gardens():
    student = fit_tfidf(RECIPE, headlines())
    fire, garden = student.predict(pl.DataFrame({"text": ["Flames threaten crews", "Visitors love the garden"]}))
    assert fire[0] > garden[0] + 1
    assert fire[1] < garden[1] - 1


def test_texts_without_any_shared_term_give_the_means():
    train = headlines()
    apart = pl.DataFrame({"id": train.frame["id"], "text": [chr(0x4E00 + i) * 3 for i in range(20)]})
    student = fit_tfidf(RECIPE, type(train)(train.ids, apart, train.scores, train.clusters, train.dimensions))
    assert student.predict(apart) == pytest.approx(np.tile(train.scores.mean(axis=0), (20, 1)))


def test_a_dimension_without_labels_is_refused():
    train = headlines()
    train.scores[:, 0] = np.nan
    with pytest.raises(DatasetError, match="urgency"):
        fit_tfidf(RECIPE, train)


def test_only_words_or_only_characters_will_do():
    for update in ({"words": None}, {"characters": None}):
        student = fit_tfidf(RECIPE.model_copy(update=update), headlines())
        assert len(student.blocks) == 1


def test_words_are_runs_of_two_and_more_word_characters():
    terms = Terms("words", (1, 2), ("fire", "crews"), np.array([1, 2, (1 << 32) | 2], dtype=np.uint64))
    places, frequency = terms.look_up("fire a crews. fire! crews-fire")
    assert places.tolist() == [0, 1, 2]
    assert frequency == pytest.approx([1 + np.log(3), 1 + np.log(2), 1 + np.log(2)])


@given(
    st.text(
        st.one_of(st.sampled_from("ab_7 -\n\u00e9\u2019\u65e5\u0661\u00b2\U0001f389\U0001d400"), st.characters()),
        max_size=30,
    )
)
def test_words_are_those_that_the_pattern_finds_in_any_script(text):
    assert words_of(text) == re.findall(r"\w\w+", text)


def test_every_character_of_the_basic_plane_is_a_letter_to_both_or_to_neither():
    plane = "".join(f"x{chr(code)}y-" for code in range(0x10000) if not 0xD800 <= code < 0xE000)
    assert words_of(plane) == re.findall(r"\w\w+", plane)


def test_scoring_needs_no_scikit_learn_no_scipy_and_no_torch(tmp_path: Path):
    student = fit_tfidf(RECIPE, headlines())
    save_student(student, tmp_path)
    program = textwrap.dedent("""
        import sys
        for name in ("sklearn", "scipy", "torch", "transformers", "datasketch"):
            sys.modules[name] = None
        from pathlib import Path
        import polars as pl
        from potstill.students.storage import load_student
        print(load_student(Path(sys.argv[1])).predict(pl.DataFrame({"text": ["Flames near Sydney"]})).tolist())
    """)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(student.predict(pl.DataFrame({"text": ["Flames near Sydney"]})).tolist())


def test_a_distribution_is_learned_and_comes_back(tmp_path):
    train = headlines(masked=True)
    student = fit_tfidf(RECIPE.model_copy(update={"learns": "distribution"}), train)
    frame = pl.DataFrame({"text": [*UNSEEN, *train.texts]})
    scores = student.predict(frame)
    fires, gardens = scores[len(UNSEEN) :][:10], scores[len(UNSEEN) :][10:]
    assert set(gardens[:, 0]) == {1.0}
    assert fires[:, 0].min() >= 8.0
    save_student(student, tmp_path)
    assert load_student(tmp_path).predict(frame).tobytes() == scores.tobytes()


def test_arrays_of_another_number_of_dimensions_are_refused(tmp_path):
    save_student(dataclasses.replace(fit_tfidf(RECIPE, headlines()), dimensions=("urgency",)), tmp_path)
    with pytest.raises(BundleError, match="do not produce 1 scores"):
        load_student(tmp_path)

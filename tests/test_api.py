"""Tests of the Python interface: from a table of texts and scores to a bundle, in memory."""

import copy
import doctest
import json
import pickle
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from tiny_run import started

import potstill as ps
from potstill import api, filters
from potstill.errors import ArticleError
from potstill.oracle.replay import ReplayOracle
from potstill.pipeline.train import train_run
from potstill.students.recipes import load_recipe

WORDS = {
    "good": ["villagers", "restored", "the", "old", "mill", "and", "shared", "its", "harvest", "with", "families"],
    "bad": ["shares", "of", "the", "bank", "fell", "after", "auditors", "found", "hidden", "losses", "and", "fraud"],
}


def essays(rows=240, seed=0):
    """Texts with more words of one kind the higher their score; one score in ten is missing."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(rows):
        score = float(rng.integers(2, 11)) / 2
        kinds = np.where(rng.random(30) < (score - 1) / 4, "good", "bad")
        text = " ".join(str(rng.choice(WORDS[kind])) for kind in kinds)
        syntax = float(np.clip(score + rng.integers(-1, 2) / 2, 1, 5))
        found.append({"body": f"{text} {number}", "cohesion": score, "syntax": None if number % 10 == 0 else syntax})
    return found


@pytest.fixture(scope="module")
def flt():
    return ps.Filter("essays", ["cohesion", "syntax"], scale=(1, 5))


@pytest.fixture(scope="module")
def data(flt):
    return ps.Dataset.from_frame(pd.DataFrame(essays()), flt, text="body")


@pytest.fixture(scope="module")
def parts(data):
    return data.split(seed=0)


@pytest.fixture(scope="module")
def student(parts):
    return ps.Student("tfidf-ridge").fit(parts.train, parts.validation)


@pytest.fixture(scope="module")
def scorer(flt, parts, student):
    return ps.Scorer(flt, student.calibrate(parts.calibration))


def test_the_public_names_are_these():
    assert sorted(ps.__all__) == [
        "Article", "BadInput", "Cap", "Dataset", "Dimension", "Filter", "Gate", "Leaderboard", "MissingExtra",
        "NoSkill", "Parts", "PotstillError", "Probes", "Result", "Rows", "Run", "Scorer", "Student", "Tier", "Verdict",
        "__version__", "compare", "label", "probe",
    ]  # fmt: skip
    assert all(getattr(ps, name) is not None for name in ps.__all__)
    assert set(ps.__all__) <= set(dir(ps))
    assert re.fullmatch(r"\d+\.\d+\.\d+", ps.__version__)
    with pytest.raises(AttributeError, match="module 'potstill' has no attribute 'Studnet'"):
        _ = ps.Studnet


def test_importing_potstill_loads_nothing_heavy():
    code = "import sys, potstill; print([m for m in ('torch', 'polars', 'numpy', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", [api, filters.model])
def test_the_examples_in_the_docstrings_are_true(module):
    names = {name: getattr(ps, name) for name in ps.__all__}
    assert doctest.testmod(module, extraglobs=names).failed == 0


class TestFilter:
    def test_a_filter_in_code_has_equal_weights_and_one_tier(self, flt):
        assert flt.weights.tolist() == [0.5, 0.5]
        assert (flt.scale.min, flt.scale.max) == (1.0, 5.0)
        assert flt.tier_names == ("scored",)
        assert "- cohesion: cohesion" in flt.rubric

    def test_a_filter_in_code_may_say_everything(self):
        flt = ps.Filter(
            "news",
            {
                "good": ps.Dimension(weight=0.75, description="Somebody gains."),
                "new": ps.Dimension(weight=0.25, description="It is new."),
            },
            tiers=[ps.Tier(name="read", when="overall >= 7", positive=True), ps.Tier(name="skip")],
            gates=(ps.Gate(when="good < 2", cap=3.0, reason="nobody gains"),),
            rubric="Score from 0 to 10.",
        )
        assert flt.positive_tiers == ("read",)
        assert flt.gates[0].cap == 3.0

    def test_a_filter_is_saved_and_loaded(self, flt, tmp_path):
        flt.save(tmp_path / "essays")
        assert ps.Filter.load(tmp_path / "essays") == flt
        assert ps.Filter.load("uplifting").name == "uplifting"

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"name": "My Essays"}, r"^filter My Essays: name: String should match"),
            ({"dimensions": []}, "dimensions: Dictionary should have at least 1 item"),
            ({"dimensions": "cohesion"}, "dimensions: expected a list of names or a dict, got the text 'cohesion'"),
            ({"dimensions": ["tier"]}, "dimensions -> tier: a reserved name; dimensions cannot be named"),
            ({"scale": (5, 1)}, "scale: min 5 is not below max 1"),
            ({"gate": ()}, "gate: Extra inputs are not permitted"),
            ({"dimensions": {"a": {"weight": 0.3, "description": "x"}}}, "dimensions: weights sum to 0.3, expected 1"),
        ],
    )
    def test_a_fault_is_named_in_one_line(self, given, message):
        with pytest.raises(ps.BadInput, match=message) as caught:
            ps.Filter(**{"name": "essays", "dimensions": ["cohesion"], **given})
        assert "\n" not in str(caught.value)


class TestDataset:
    def test_a_given_split_is_taken(self, flt):
        rows = [
            row | {"part": ("train", "train", "validation", "test")[place % 4]} for place, row in enumerate(essays())
        ]
        parts = ps.Dataset.from_frame(rows, flt, text="body", split="part").split()
        assert list(parts.test.to_frame()["id"]) == [str(place + 1) for place in range(3, len(rows), 4)]
        rows[7]["part"] = None
        with pytest.raises(ArticleError, match="row 8: part: got nothing, expected train, validation, calibration or"):
            ps.Dataset.from_frame(rows, flt, text="body", split="part")

    @pytest.mark.parametrize("convert", [list, pd.DataFrame, pl.DataFrame])
    def test_any_table_gives_the_same_dataset(self, convert, flt, data):
        found = ps.Dataset.from_frame(convert(essays()), flt, text="body")
        assert found.labels.equals(data.labels)
        assert repr(found) == "Dataset(240 texts for essays: cohesion, syntax)"

    def test_parts_are_disjoint_and_complete(self, data, parts):
        ids = [set(part.examples.ids) for part in (parts.train, parts.validation, parts.calibration, parts.test)]
        assert sum(map(len, ids)) == len(set().union(*ids)) == len(data)
        assert repr(parts) == "Parts(train 192, validation 24, calibration 0, test 24)"
        assert data.split(seed=0).train.examples.ids == parts.train.examples.ids
        assert data.split(seed=1).train.examples.ids != parts.train.examples.ids
        assert len(data.split(fractions="60/20/20").test) == 48

    def test_rows_are_a_table_again(self, parts):
        frame = parts.test.to_frame()
        assert frame.columns == ["id", "text", "cohesion", "syntax"]
        assert frame["cohesion"].null_count() == 0
        assert frame["syntax"].null_count() == int(np.isnan(parts.test.scores[:, 1]).sum())


class TestStudent:
    def test_it_learns_and_its_result_is_a_table(self, student, parts):
        result = student.evaluate(parts.test)
        assert result.rows == 24
        assert result.skill > 0.3
        assert result.skill == pytest.approx(1 - result.mae / result.constant_mae, abs=1e-5)
        assert result.mae_interval.low < result.mae < result.mae_interval.high
        assert result.positives is None
        assert result.by_dimension["dimension"].to_list() == ["cohesion", "syntax", "mean"]
        assert result.by_dimension["mae"].to_list()[-1] == result.mae
        lines = repr(result).splitlines()
        assert lines[0].startswith(f"tfidf-ridge on 24 rows: MAE {result.mae:.3f}, constant {result.constant_mae:.3f}")
        assert lines[1].split() == ["dimension", "rows", "mae", "low", "high", "constant_mae", "skill", "spearman"]
        assert "<table" in result._repr_html_()

    def test_the_constant_of_a_result_is_that_of_the_training_rows(self, student, parts):
        median = np.nanmedian(parts.train.scores, axis=0)
        error = np.nanmean(np.abs(parts.test.scores - median), axis=0).mean()
        assert student.evaluate(parts.test).constant_mae == pytest.approx(error, abs=1e-6)

    def test_rows_chosen_by_a_predicted_score_train_and_do_not_change_that_constant(self, flt):
        rows = essays()
        for row in rows[-100:]:
            row |= {"sampling": "high", "cohesion": 5.0}
        parts = ps.Dataset.from_frame(pd.DataFrame(rows), flt, text="body").split(seed=0)
        targeted = parts.train.examples.targeted
        assert targeted.sum() == 100
        assert not parts.test.examples.targeted.any()
        found = ps.Student("tfidf-ridge").fit(parts.train, parts.validation).evaluate(parts.test)
        median = np.nanmedian(parts.train.scores[~targeted], axis=0)
        error = np.nanmean(np.abs(parts.test.scores - median), axis=0).mean()
        assert found.constant_mae == pytest.approx(error, abs=1e-6)

    def test_it_predicts_texts_rows_and_tables_alike(self, student, parts):
        expected = student.predict(parts.test)
        assert expected.shape == (24, 2)
        assert np.array_equal(student.predict(parts.test.texts), expected)
        assert np.array_equal(student.predict(parts.test.to_frame()), expected)

    def test_calibration_leaves_the_student_as_it_is(self, student, parts):
        calibrated = student.calibrate(parts.calibration)
        assert student.calibration is None
        assert calibrated.calibration.origin == "training rows, predicted by models that had not seen them"
        assert student.calibrate(parts.validation).calibration.origin == "the calibration part"
        assert repr(calibrated) == "Student('tfidf-ridge', calibrated)"

    def test_a_refitted_student_learns_from_all_rows_and_refuses_to_be_judged_on_them(self, student, parts, flt):
        shipped = student.calibrate().refit(parts)
        assert (len(parts.train), len(shipped._train_rows), len(student._train_rows)) == (192, 240, 192)
        assert shipped.calibration.origin == "all labelled rows, predicted by models that had not seen them"
        assert [curve.n for curve in shipped.calibration.curves] == [240, 216]
        assert not np.allclose(shipped.predict(parts.test), student.predict(parts.test), atol=1e-3)
        for judging in (shipped.evaluate, shipped.calibrate, shipped.calibrate().evaluate):
            with pytest.raises(ps.BadInput, match="tfidf-ridge: cannot be judged on these rows"):
                judging(parts.test)
        with pytest.raises(ps.BadInput, match=r"refit takes the parts of a dataset, such as data\.split"):
            student.refit(parts.train)
        new = ps.Dataset.from_frame(pd.DataFrame(essays(60, seed=7)), flt, text="body").split(seed=0)
        assert shipped.evaluate(new.test).skill > 0.3
        with pytest.raises(ps.BadInput, match="minilm-ridge is not fitted"):
            ps.Student("minilm-ridge").refit(parts)

    def test_a_refitted_student_is_saved_with_the_record_of_its_rows(self, flt, student, parts, tmp_path):
        place = ps.Scorer(flt, student.refit(parts)).save(tmp_path / "bundle")
        facts = json.loads((place / "facts.json").read_text())["refit"]
        assert (facts["seen"]["rows"], facts["calibration"], facts["folds"]) == (240, "out-of-fold", 5)
        assert facts["parts"] == {"train": 192, "validation": 24, "test": 24}
        plain = ps.Scorer(flt, student.calibrate()).save(tmp_path / "plain")
        assert json.loads((plain / "facts.json").read_text())["refit"] is None

    @pytest.mark.slow
    def test_a_refitted_network_keeps_its_calibration_and_needs_one(self, parts):
        recipe = load_recipe("minilm-lora").model_copy(update={"epochs": 1})
        fitted = ps.Student(recipe, tiny=True).fit(parts.train, parts.validation)
        with pytest.raises(ps.PotstillError, match="it keeps its calibration; call calibrate first"):
            fitted.refit(parts)
        calibrated = fitted.calibrate()
        shipped = calibrated.refit(parts)
        assert shipped.calibration.curves == calibrated.calibration.curves
        assert (shipped.refitted.calibration, shipped.refitted.epochs) == ("kept", 1)

    def test_it_predicts_unseen_training_rows_only_to_be_calibrated_on_them(self, parts, monkeypatch):
        module = sys.modules["potstill.training.fit"]
        fits, fitting = [], module.fit_tfidf
        monkeypatch.setattr(module, "fit_tfidf", lambda *given, **how: fits.append(1) or fitting(*given, **how))
        fitted = ps.Student("tfidf-ridge").fit(parts.train, parts.validation)
        fitted.calibrate(parts.validation)
        assert len(fits) == 1
        fitted.calibrate()
        assert len(fits) == 6

    def test_without_a_fit_it_says_what_to_do(self, parts):
        with pytest.raises(ps.BadInput, match=r"tfidf-ridge is not fitted; call fit\(train, validation\) first"):
            ps.Student("tfidf-ridge").evaluate(parts.test)
        with pytest.raises(ps.BadInput, match="trains a network and selects its epoch on validation rows; give some"):
            ps.Student("minilm-lora").fit(parts.train)
        with pytest.raises(ps.BadInput, match="no such recipe"):
            ps.Student("gpt-9")


class TestCompare:
    def test_a_leaderboard_ranks_by_error_and_includes_a_constant(self, student, parts):
        board = ps.compare([student], parts)
        assert [one.name for one in board.students] == ["tfidf-ridge", "constant"]
        assert board.best is student
        assert board["constant"].name == "constant"
        assert board.table["mae"].is_sorted()
        first, second = board.table.to_dicts()
        assert first["difference"] is None
        assert second["difference"] == pytest.approx(second["mae"] - first["mae"], abs=0.1)
        assert second["low"] <= second["difference"] <= second["high"]
        assert repr(board).startswith("24 rows of the validation part\nstudent")
        with pytest.raises(KeyError, match="no student 'other'; there are: tfidf-ridge, constant"):
            _ = board["other"]

    def test_it_may_be_made_on_the_test_part(self, student, parts):
        board = ps.compare([student], parts, part="test")
        assert board.results[0].mae == pytest.approx(student.evaluate(parts.test).mae)

    def test_a_name_given_twice_is_refused(self, student, parts):
        with pytest.raises(ps.BadInput, match="tfidf-ridge is given twice"):
            ps.compare([student, "tfidf-ridge"], parts)


class TestScorer:
    def test_a_text_gets_a_verdict(self, scorer):
        good = scorer.score(" ".join(WORDS["good"] * 2))
        bad = scorer.score(ps.Article("1", "Bank", " ".join(WORDS["bad"] * 2)))
        assert good.tier == bad.tier == "scored"
        assert good.overall > bad.overall + 1
        low, high = good.intervals["cohesion"]
        assert 1 <= low <= good.scores["cohesion"] <= high <= 5
        assert scorer.score("").tier == "unscored"

    @pytest.mark.parametrize("convert", [list, pd.DataFrame, pl.DataFrame])
    def test_a_table_in_is_the_same_kind_of_table_out(self, convert, scorer):
        table = convert(essays(3))
        found = scorer.score_batch(table)
        assert type(found) is type(table)
        rows = found.to_dict("records") if isinstance(found, pd.DataFrame) else pl.DataFrame(found).to_dicts()
        assert list(rows[0])[:4] == ["body", "cohesion", "syntax", "score_cohesion"]
        assert [row["body"] for row in rows] == [row["body"] for row in essays(3)]
        assert [row["overall"] for row in rows] == [scorer.score(row["body"]).overall for row in rows]

    def test_a_table_without_text_is_refused(self, scorer):
        with pytest.raises(ps.BadInput, match="no column of text: expected content, text, body, full_text; got words"):
            scorer.score_batch([{"words": "x"}])

    def test_a_bundle_scores_as_the_student_did(self, scorer, tmp_path):
        folder = scorer.save(tmp_path / "bundle")
        loaded = ps.Scorer.load(folder)
        texts = [row["body"] for row in essays(5, seed=1)]
        assert [loaded.score(text).scores for text in texts] == [
            pytest.approx(scorer.score(text).scores, abs=1e-6) for text in texts
        ]
        assert loaded.score_batch(pd.DataFrame({"text": texts})).shape[0] == 5
        with pytest.raises(ps.BadInput, match="this scorer was loaded from a bundle; copy its folder instead"):
            loaded.save(tmp_path / "again")

    def test_a_student_that_reads_nothing_from_the_texts_is_saved_only_with_anyway(self, flt, tmp_path):
        table = pd.DataFrame(essays())
        labels = table[["cohesion", "syntax"]].sample(frac=1, random_state=0).to_numpy()
        table[["cohesion", "syntax"]] = labels
        parts = ps.Dataset.from_frame(table, flt, text="body").split(seed=0)
        noise = ps.Student("tfidf-ridge").fit(parts.train, parts.validation).calibrate(parts.calibration)
        scorer = ps.Scorer(flt, noise)
        with pytest.raises(ps.NoSkill, match=r"tfidf-ridge is not shown to be better than the constant: skill "):
            scorer.save(tmp_path / "bundle")
        assert not (tmp_path / "bundle").exists()
        loaded = ps.Scorer.load(scorer.save(tmp_path / "bundle", anyway=True))
        assert not loaded.skill.shown
        assert loaded.skill == noise.proven_skill(anyway=True)
        assert loaded.skill.labels.articles is None
        assert list(loaded.cautions) == ["essays"]
        assert loaded.cautions["essays"].startswith("shipped with --anyway")

    def test_the_skill_of_a_saved_student_is_in_its_bundle(self, scorer, student, tmp_path):
        loaded = ps.Scorer.load(scorer.save(tmp_path / "bundle"))
        assert loaded.skill.shown
        assert loaded.cautions == {}
        assert student.proven_skill().rows == len(student._train)

    def test_without_calibration_scores_are_clipped(self, flt, student):
        verdict = ps.Scorer(flt, student).score(" ".join(WORDS["good"] * 9))
        assert verdict.scores["cohesion"] <= 5
        assert verdict.intervals["cohesion"] == (1.0, 5.0)

    def test_a_student_of_another_filter_is_refused(self, student):
        with pytest.raises(ps.PotstillError, match="scores cohesion, syntax; the dimensions of other are tone"):
            ps.Scorer(ps.Filter("other", ["tone"]), student)
        with pytest.raises(ps.BadInput, match="a scorer needs a fitted student"):
            ps.Scorer(ps.Filter("other", ["tone"]))


class TestLabel:
    @pytest.fixture
    def recorded(self, tmp_path):
        """A recording of an oracle that scored three of four texts."""
        path = tmp_path / "oracle.jsonl"
        lines = [{"id": str(row), "scores": {"cohesion": row, "syntax": 3.0}} for row in (1, 2, 3)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return f"replay:{path}"

    def test_labels_are_bought_once_and_kept(self, flt, recorded, tmp_path, monkeypatch):
        texts = [{"id": row, "text": f"text {row}"} for row in range(1, 5)]
        ledger = tmp_path / "labels.sqlite"
        data = ps.label(texts, flt, recorded, ledger=ledger)
        assert len(data) == 3
        assert data.labels.sort("article")["y_cohesion"].to_list() == [1.0, 2.0, 3.0]
        asked = []
        monkeypatch.setattr(ReplayOracle, "ask", lambda _, request: asked.append(request))
        again = ps.label(pd.DataFrame(texts[:3]), flt, recorded, ledger=ledger)
        assert again.labels.equals(data.labels)
        assert asked == []

    def test_the_default_ledger_is_one_per_filter(self, flt, recorded, tmp_path, monkeypatch):
        monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
        ps.label([{"id": 1, "text": "one"}], flt, recorded)
        [ledger] = (tmp_path / "cache" / "labels").glob("*.sqlite")
        assert ledger.name == f"essays-{flt.oracle_hash[:12]}.sqlite"

    def test_without_a_single_label_the_first_failure_is_said(self, flt, recorded, tmp_path):
        with pytest.raises(ps.PotstillError, match="the first failure"):
            ps.label([{"id": 9, "text": "nine"}], flt, recorded, ledger=tmp_path / "labels.sqlite")

    def test_a_limit_on_the_cost_needs_a_price(self, flt, tmp_path, monkeypatch):
        monkeypatch.setenv("OPENAI_API_KEY", "key")
        with pytest.raises(ps.BadInput, match="needs the prices"):
            ps.label(
                [{"id": 1, "text": "one"}], flt, "openai:no-such-model", max_cost=1, ledger=tmp_path / "labels.sqlite"
            )


def test_a_run_goes_from_labels_to_a_report(flt, tmp_path):
    rows = [{"id": str(row), **essay} for row, essay in enumerate(essays(120))]
    articles, recorded = tmp_path / "essays.jsonl", tmp_path / "oracle.jsonl"
    articles.write_text("".join(json.dumps({"id": row["id"], "content": row["body"]}) + "\n" for row in rows))
    scores = [{"id": row["id"], "scores": {name: row[name] for name in flt.dimension_names}} for row in rows]
    recorded.write_text("".join(json.dumps(row) + "\n" for row in scores))
    run = ps.Run.create(tmp_path / "run", flt)
    assert run.label(f"replay:{recorded}", articles).bought == 120
    constant, ridge = run.train(["constant", "tfidf-ridge"])
    assert ridge.validation.mae < constant.validation.mae
    assert run.evaluate(folds=0).choice.rung == "tfidf-ridge"
    before = run.scorer().score(rows[0]["body"]).scores
    assert run.refit().rows == 120
    assert run.scorer().bundle.folder == run.path("shipped")
    assert run.scorer().score(rows[0]["body"]).scores != before
    assert run.report().name == "report.html"
    states = {status.stage: status.state for status in run.status() if not status.optional}
    assert set(states.values()) == {"done"}
    assert run.scorer().score(rows[0]["body"]).tier == "scored"
    again = run.distill(recipes=["constant", "tfidf-ridge"])
    assert [outcome.stage for outcome in again.outcomes] == [
        "dataset",
        "train",
        "bundle",
        "evaluate",
        "refit",
        "report",
    ]
    assert again.evaluation.shipped.rung == "tfidf-ridge"


def test_a_run_bundles_at_an_operating_point(tmp_path):
    run = started(tmp_path / "run")
    train_run(run, ["tfidf-ridge"])
    bundle = ps.Run.open(run.folder).bundle(decide={"lead": "recall=0.5"})
    assert [str(cut.point) for cut in bundle.calibration.decisions.cuts] == ["recall 0.5"]
    verdict = ps.Scorer.load(bundle.folder, decide="volume=900").score("library school harvest rescued town street")
    assert (verdict.tier, verdict.why.endswith("for 900 per 1,000 articles")) == ("lead", True)
    with refused("decide: 'brief' is no positive tier; there are lead"):
        ps.Run.open(run.folder).bundle(decide={"brief": "f1"})


def refused(message):
    """Expect one line that matches."""
    return pytest.raises(ps.PotstillError, match=rf"\A{message}[^\n]*\Z")


def test_a_bundle_is_not_saved_over_other_files(scorer, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with refused(".*thesis: holds other files than a bundle, which would be lost"):
        scorer.save(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "empty", tmp_path / "new"):
        assert ps.Scorer.load(scorer.save(folder)).filters == ("essays",)


@pytest.mark.parametrize(
    "texts",
    [
        pd.DataFrame({"text": ["one", "two", "three"]}),
        pl.DataFrame({"id": [1, 2, 3], "body": ["one", "two", "three"]}),
        ["one", "two", "three"], ("one", "two", "three"), pd.Series(["one", "two", "three"]),
        np.array(["one", "two", "three"]), pl.Series(["one", "two", "three"]),
        [{"text": "one"}, {"text": "two"}, {"text": "three"}], {"content": ["one", "two", "three"]},
    ],
)  # fmt: skip
def test_a_student_predicts_lists_and_columns_and_tables_alike(student, texts):
    expected = student.predict(["one", "two", "three"])
    assert expected.shape == (3, 2)
    np.testing.assert_array_equal(student.predict(texts), expected)
    np.testing.assert_array_equal(student.predict(iter(["one", "two", "three"])), expected)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "a table is needed"), (5, "a table is needed"), (None, "a table is needed"),
        (["one", None], "text 2: expected text, got NoneType"), ([1, 2], "text 1: expected text, got int"),
        (pd.DataFrame({"words": ["one"]}), "no column of text: expected content, text, body, full_text; got words"),
        (pd.DataFrame({"text": [1]}), "column text: expected text, got Int64"),
        (["fine", "half \ud800"], "column 'text': row 2: unpaired surrogate"),
    ],
)  # fmt: skip
def test_what_are_no_texts_is_not_predicted(student, texts, message):
    with refused(message):
        student.predict(texts)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: ps.Dataset.from_frame(essays(9), None), "a filter is needed"),
        (lambda _: ps.Dataset.from_frame(essays(9), "uplifting"), "a filter is needed, such as .*; got str"),
        (lambda g: ps.Dataset.from_frame(essays(9), g["flt"], text="body", scores=5), "scores: expected a dict"),
        (
            lambda g: ps.Dataset.from_frame(
                essays(9), g["flt"], text="body", scores={"cohesion": "cohesion", "syntax": "syntax", "wit": "cohesion"}
            ),
            "scores of wit: the filter's dimensions are cohesion, syntax",
        ),
        (lambda g: g["data"].split(seed=-1), "seed: got -1"),
        (lambda g: g["data"].split(seed="x"), "seed: got 'x'"),
        (lambda g: g["data"].split(fractions=(0.8, 0.1, 0.1)), r"fractions: got \(0.8, 0.1, 0.1\)"),
        (lambda g: g["data"].split(whole="author"), "whole: got 'author', expected 'source', 'time' or None"),
        (lambda _: ps.Student(5), "a recipe is needed: .*; got int"),
        (lambda _: ps.Student("tfidf-ridge", seed="x"), "seed: got 'x'"),
        (lambda _: ps.Student("tfidf-ridge", device="tpu"), "device: got 'tpu', expected auto, cpu, cuda or mps"),
        (lambda g: ps.Student("tfidf-ridge").fit(g["data"]), "split the dataset first: fit takes rows"),
        (lambda g: ps.Student("tfidf-ridge").fit(g["parts"]), "fit takes rows of a split, .*; got Parts"),
        (lambda g: ps.Student("tfidf-ridge").fit(g["parts"].train, g["other"]), "the rows have the dimensions wit; "),
        (lambda g: g["student"].evaluate(g["data"]), "split the dataset first: evaluate takes rows"),
        (lambda g: g["student"].evaluate(g["other"]), "the rows have the dimensions wit; the training rows cohesion"),
        (lambda g: g["student"].evaluate(g["parts"].calibration), "there are no rows to evaluate on"),
        (lambda g: g["student"].calibrate(g["other"]), "the rows have the dimensions wit; "),
        (lambda g: g["student"].calibrate(essays(9)), "calibrate takes rows of a split, .*; got list"),
        (lambda g: ps.compare("tfidf-ridge", g["parts"]), "students: expected a list"),
        (lambda g: ps.compare(["constant"], g["data"]), "parts: expected the parts .*; got Dataset"),
        (lambda g: ps.compare(["constant"], g["parts"], part="train"), "part: got 'train'"),
        (lambda g: ps.Scorer("essays", g["student"]), "a filter is needed"),
        (lambda g: ps.Scorer(g["flt"], "tfidf-ridge"), "a scorer needs a fitted student; got str"),
        (lambda g: g["scorer"].score(None), "a text or an Article is needed; got NoneType"),
        (lambda g: g["scorer"].score({"text": "a"}), "a text or an Article is needed; got dict; tables are scored"),
        (lambda g: list(g["scorer"].score_many("a text")), "expected texts or articles in .*; got str"),
        (lambda g: g["scorer"].save(5), "a path is needed; got int"),
        (lambda g: pickle.dumps(g["scorer"]), "a scorer cannot be pickled or copied; save it"),
        (lambda g: copy.deepcopy(g["scorer"]), "a scorer cannot be pickled or copied; save it"),
        (lambda _: ps.Run.open(5), "a path is needed; got int"),
        (lambda _: ps.Run.create("run", "uplifting"), "a filter is needed"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_refused_in_one_line(flt, data, parts, student, scorer, call, message):
    other = ps.Filter("other", ["wit"], scale=(1, 5))
    wit = [{"text": row["body"], "wit": row["cohesion"]} for row in essays(40)]
    rows = ps.Dataset.from_frame(wit, other).split().train
    with refused(message):
        call({"flt": flt, "data": data, "parts": parts, "student": student, "scorer": scorer, "other": rows})


def test_rows_show_how_many_they_are_and_not_their_texts(parts):
    assert repr(parts.test) == f"Rows({len(parts.test)} of essays: cohesion, syntax)"


def test_scoring_an_empty_list_gives_an_empty_list(scorer):
    assert scorer.score_batch([]) == []

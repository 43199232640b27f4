"""Tests of multi-task training: which rows each filter learns from, what each run gets, and no leaks between runs."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import YAML

from potstill.bundle import load_bundle
from potstill.dataset import PARTS, Dataset, Examples
from potstill.errors import BadInput, DatasetError, RecipeError, RunError
from potstill.filters import parse_filter
from potstill.pipeline.bundle import build_bundle, choose_for_all
from potstill.pipeline.run import Run
from potstill.pipeline.train import rows_hash, train_run, train_runs
from potstill.scorer import Scorer
from potstill.students.heads import LinearHead
from potstill.students.levels import Levels
from potstill.students.neural import NeuralStudent
from potstill.students.ordinal import OrdinalHead
from potstill.students.recipes import load_recipe
from potstill.training import StudentRecord, fit
from potstill.training.folder import LAYOUT, read_scores, same_student
from potstill.training.joint import Member, fit_together, importance, merged, own_student, roles

WORDS = ("library", "school", "harvest", "clinic", "fire", "theft", "storm", "fraud", "river", "bridge", "council")


def texts(n, seed=0, words=24):
    """Return stories that are not near-duplicates of each other."""
    rng = np.random.default_rng(seed)
    return [
        " ".join([f"w{seed}x{row}x{place}" if place % 2 else rng.choice(WORDS) for place in range(words)])
        for row in range(n)
    ]


def member(name, own, parts, *, seed=0, dimensions=("gain", "near"), clusters=None):
    scores = np.random.default_rng(seed).integers(0, 11, (len(own), len(dimensions))).astype(float)
    frame = pl.DataFrame({"id": [f"{name}{row}" for row in range(len(own))], "text": own})
    numbers = np.arange(len(own)) if clusters is None else np.array(clusters)
    return Member(name, Examples(tuple(frame["id"]), frame, scores, numbers, dimensions), tuple(parts))


def parts(*counts):
    return [part for part, count in zip(PARTS, counts, strict=True) for _ in range(count)]


class TestRoles:
    @given(data=st.data())
    @settings(max_examples=30)
    def test_nothing_that_any_run_keeps_for_judging_is_learnt_from(self, data):
        shared, seed = texts(20), data.draw(st.integers(0, 99))
        members = []
        for name in ("a", "b", "c"):
            rng = np.random.default_rng([seed, ord(name)])
            # Each run has some of the stories, sometimes as a near-duplicate or truncated, and its own split.
            own = [text + " more" if rng.uniform() < 0.3 else text for text in rng.permutation(shared)[:15].tolist()]
            members.append(member(name, own + texts(5, seed=ord(name)), rng.permutation(parts(14, 3, 1, 2)).tolist()))
        try:
            found = roles(members, seed=seed)
        except DatasetError:
            return
        first = [{text.removesuffix(" more") for text in np.array(m.rows.texts)[rows]} for m, rows in
                 zip(members, [own.learnt for own in found], strict=True)]  # fmt: skip
        learnt = set().union(*first)
        chosen = {
            text.removesuffix(" more")
            for m, own in zip(members, found, strict=True)
            for text in np.array(m.rows.texts)[own.choosing]
        }
        for m, own in zip(members, found, strict=True):
            for text, part, unseen in zip(m.rows.texts, m.parts, own.unseen, strict=True):
                story = text.removesuffix(" more")
                assert part == "train" or story not in learnt
                assert part not in {"test", "calibration"} or story not in chosen
                assert not unseen or (part == "train" and story not in learnt | chosen)

    def test_with_one_split_every_training_row_is_learnt_but_those_set_aside(self):
        own, split = texts(60), parts(40, 10, 0, 10)
        found = roles([member("a", own, split), member("b", own, split, seed=1)], seed=0)
        for one in found:
            assert one.learnt.sum() == 36
            assert one.unseen.sum() == 4
            assert one.choosing.sum() == 10
        assert (found[0].learnt == found[1].learnt).all()

    def test_a_longer_window_of_the_same_article_is_known_again(self):
        whole = texts(30, words=80)
        short = [text[:120] for text in whole]
        found = roles([member("a", whole, parts(20, 5, 0, 5)), member("b", short[::-1], parts(20, 5, 0, 5))], holdout=0)
        # The first ten rows of one filter are evaluation rows of the other.
        assert found[0].learnt.tolist() == [False] * 10 + [True] * 10 + [False] * 10

    def test_a_runs_own_clusters_stay_whole(self):
        own = texts(20)
        clustered = [0, *range(18), 0]
        found = roles(
            [member("a", own, parts(14, 3, 0, 3), clusters=clustered), member("b", own, parts(14, 3, 0, 3))], holdout=0
        )
        # Rows 0, 1 and 19 of the first run are one cluster, and row 19 is in its test part.
        assert found[1].learnt.tolist() == [False, False, *[True] * 12, *[False] * 6]

    def test_a_run_that_is_left_with_nothing_is_named_with_the_way_out(self):
        own = texts(20)
        with pytest.raises(DatasetError, match=r"a: no training row is left .* --like OTHER"):
            roles(
                [
                    member("a", own[:10], parts(6, 2, 0, 2)),
                    member("b", own[:10], ["test"] * 8 + ["train", "validation"]),
                ]
            )
        with pytest.raises(DatasetError, match="a: no validation row is left"):
            roles(
                [member("a", own, parts(14, 3, 0, 3)), member("b", own, [*parts(14, 0, 0, 3), *parts(1, 2, 0, 0)])],
                holdout=0,
            )


class TestMerged:
    def test_a_text_that_both_label_stands_once_with_both_labels(self):
        one, two, three = texts(3)
        first, second = member("a", [one, two, two], ["train"] * 3), member("b", [two, three], ["train"] * 2, seed=1)
        union = merged([first, second], [np.array([0, 1, 1]), np.array([1, 2])], [np.ones(3, bool), np.ones(2, bool)])
        assert union.examples.texts == [one, two, two, three]
        assert union.examples.dimensions == ("a.gain", "a.near", "b.gain", "b.near")
        assert [where.tolist() for where in union.places] == [[0, 1, 2], [1, 3]]
        known = np.isfinite(union.examples.scores)
        assert known.tolist() == [
            [True, True, False, False],
            [True] * 4,
            [True, True, False, False],
            [False, False, True, True],
        ]
        np.testing.assert_array_equal(union.examples.scores[union.places[1], 2:], second.rows.scores)


def test_a_filter_counts_by_its_share_of_the_constants_error_whatever_its_dimensions():
    few, many = (
        member("a", texts(30), parts(20, 5, 0, 5)),
        member("b", texts(30), parts(20, 5, 0, 5), seed=2, dimensions=tuple("vwxyz")),
    )
    found = importance([few, many], roles([few, many], holdout=0))
    for one in (few, many):
        labels = one.rows.scores
        constant = np.median(labels[:20], axis=0)
        errors = np.abs(labels[20:25] - constant).mean(axis=0)
        shares = [found[f"{one.name}.{name}"] for name in one.rows.dimensions]
        assert np.dot(shares, errors) == pytest.approx(0.5)


def test_rows_chosen_by_a_predicted_score_do_not_move_the_constant_that_a_filters_error_is_divided_by():
    plain = member("a", texts(30), parts(20, 5, 0, 5))
    marks = pl.Series("sampling", ["high"] * 12 + [None] * 18)
    scores = plain.rows.scores.copy()
    scores[:12] = 10.0
    marked = replace(plain, rows=replace(plain.rows, frame=plain.rows.frame.with_columns(marks), scores=scores))
    found = importance([marked], roles([marked], holdout=0))
    errors = np.abs(scores[20:25] - np.median(scores[12:20], axis=0)).mean(axis=0)
    assert np.dot([found[f"a.{name}"] for name in plain.rows.dimensions], errors) == pytest.approx(1.0)


@pytest.mark.parametrize("graded", [False, True])
def test_a_filters_own_head_says_what_the_joint_one_says(graded):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, [3, 5, 2, 4], (40, 4)).astype(float)
    levels = Levels.of(labels)
    outputs = levels.outputs if graded else 4
    head = LinearHead(rng.normal(size=(8, outputs)), rng.normal(size=outputs))
    joint = NeuralStudent(None, OrdinalHead(head, levels, "corn", "median") if graded else head, tuple("abcd"))
    features = rng.normal(size=(10, 8))
    for columns in (slice(0, 1), slice(1, 4), slice(2, 4)):
        own = own_student(joint, columns, tuple("abcd")[columns])
        np.testing.assert_allclose(own.head.predict(features), joint.head.predict(features)[:, columns])
        assert own.head.outputs == len(own.dimensions)


RECIPE = """
name: {name}
student: fine-tuned
backbone: all-MiniLM-L6-v2
{lora}
objective: {objective}
epochs: 2
batch_size: 8
max_tokens: 64
learning_rate: 1.0e-3
head_learning_rate: 1.0e-2
warmup_share: 0.1
"""
LORA = "lora: {rank: 4, alpha: 8, targets: [query, value]}"


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    found = {}
    for name, lora, objective in (("small-lora", LORA, "huber"), ("small-full", "", "corn")):
        found[name] = folder / f"{name}.yaml"
        found[name].write_text(RECIPE.format(name=name, lora=lora, objective=objective))
    return found


def run_of(folder, name, own, split, *, seed=0, scale=10):
    text = YAML.replace("name: good-news", f"name: {name}\nscale: {{min: 0, max: {scale}}}")
    run = Run.create(folder, parse_filter(text, "Score the gain.", name))
    made = member(name, own, split, seed=seed)
    rows = made.rows.frame.with_columns(
        pl.Series("title", [""] * len(own)),
        pl.Series("cluster", np.arange(len(own))),
        pl.Series("split", split),
        *(pl.Series(f"y_{dim}", made.rows.scores[:, place] * scale / 10) for place, dim in enumerate(("gain", "near"))),
    )
    Dataset(rows, ("gain", "near")).save(run.path("rows"))
    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory, recipes):
    """Three runs that share most articles; the third has an independent split."""
    folder = tmp_path_factory.mktemp("runs")
    own, alike = texts(60), parts(44, 8, 0, 8)
    other = np.random.default_rng(3).permutation(alike).tolist()
    runs = [
        run_of(folder / "gains", "gains", own, alike),
        run_of(folder / "places", "places", own, alike, seed=1),
        run_of(folder / "others", "others", [*own[:40], *texts(20, seed=5)], other, seed=2),
    ]
    wanted = ["constant", "tfidf-ridge", *recipes.values()]
    return runs, train_runs(runs, wanted, tiny=True, crossfit=2)


class TestARunOfSeveral:
    def test_has_its_students_in_the_usual_form(self, trained):
        for run, records in zip(*trained, strict=True):
            assert [record.recipe["name"] for record in records] == [
                "constant",
                "tfidf-ridge",
                "small-lora",
                "small-full",
            ]
            dataset = Dataset.load(run.path("rows"), run.filter.dimension_names)
            for record in records:
                folder = run.path("students") / record.recipe["name"]
                assert StudentRecord.model_validate(json.loads((folder / LAYOUT["record"]).read_text())) == record
                ids, scores = read_scores(folder / LAYOUT["validation"], dataset.dimensions)
                assert tuple(ids) == dataset.part("validation").ids
                assert np.isfinite(scores).all()
                ids, scores = read_scores(folder / LAYOUT["held out"], dataset.dimensions)
                assert tuple(ids) == dataset.part("train").ids
                assert np.isfinite(scores).any(axis=1).sum() == record.held_out_rows > 0
            assert run.manifest.stages["train"].parameters["together"] == [
                f"{n} v3" for n in ("gains", "places", "others")
            ]

    def test_its_records_name_the_other_runs_and_say_what_was_learnt_from(self, trained):
        runs, records = trained
        assert [one.filter for one in records[0][2].together] == ["others v3", "places v3"]
        assert records[0][2].together[1].run == str(runs[1].folder)
        assert records[0][0].together == ()
        said = records[0][2].notes[-1]
        assert said.startswith("one network for this filter and others, places, and a head each; ")

    def test_history_is_of_its_own_dimensions(self, trained):
        runs, records = trained
        for run, own in zip(runs, records, strict=True):
            history = json.loads((run.path("students") / "small-full" / LAYOUT["history"]).read_text())
            assert len(history) == own[3].epochs == 2
            for epoch in history:
                each = epoch["validation"]["mae_by_dimension"]
                assert set(each) == {"gain", "near"}
                assert epoch["validation"]["mae"] == pytest.approx(np.mean(list(each.values())))

    @pytest.mark.parametrize("name", ["small-lora", "small-full"])
    def test_bundles_share_one_network_and_say_what_the_students_say(self, trained, name):
        runs, _ = trained
        folders = [build_bundle(run, name).folder for run in runs[:2]]
        graphs = {load_bundle(folder, check="hashes").manifest.files["model.onnx"] for folder in folders}
        assert len(graphs) == 1
        both = Scorer.load(folders)
        assert both.networks == 1
        dataset = Dataset.load(runs[1].path("rows"), runs[1].filter.dimension_names)
        ids, scores = read_scores(runs[1].path("students") / name / LAYOUT["validation"], dataset.dimensions)
        rows = dataset.part("validation").frame
        found = both.filter_scorers[1].bundle.student.predict(rows)
        assert rows["id"].to_list() == ids
        np.testing.assert_allclose(found, scores, atol=1e-3)

    def test_one_student_for_all_reads_the_text_and_errs_least_beside_the_constants(self, trained):
        runs, records = trained
        shares = {}
        for run, own in zip(runs, records, strict=True):
            dataset = Dataset.load(run.path("rows"), run.filter.dimension_names)
            labels = dataset.part("validation").scores
            level = np.abs(labels - np.median(dataset.part("train").scores, axis=0)).mean()
            for record in own:
                name = record.recipe["name"]
                _, scores = read_scores(run.path("students") / name / LAYOUT["validation"], dataset.dimensions)
                shares.setdefault(name, []).append(np.abs(scores.clip(0, 10) - labels).mean() / level)
        del shares["constant"]
        assert choose_for_all(runs) == min(shares, key=lambda name: np.mean(shares[name]))

    def test_one_student_for_all_must_be_trained_in_each(self, tmp_path):
        runs = [run_of(tmp_path / name, name, texts(20), parts(14, 3, 0, 3)) for name in ("a", "b")]
        for run, recipe in zip(runs, ("constant", "tfidf-ridge"), strict=True):
            train_run(run, [recipe])
        with pytest.raises(RunError, match=r"no student is trained in every run; run: potstill train .*a --with OTHER"):
            choose_for_all(runs)

    def test_resume_finds_it_done_and_a_training_alone_does_not(self, trained, recipes, capsys):
        runs, records = trained
        again = train_runs(runs, [recipes["small-lora"]], tiny=True, resume=True)
        assert [own[0] for own in again] == [own[2] for own in records]
        assert "small-lora: done already" in " ".join(capsys.readouterr().err.split())
        dataset = Dataset.load(runs[0].path("rows"), runs[0].filter.dimension_names)
        hash_ = rows_hash(runs[0], dataset)
        recipe = load_recipe(recipes["small-lora"])
        assert not same_student(records[0][2], recipe, hash_, 0, tiny=True)
        assert same_student(records[0][2], recipe, hash_, 0, tiny=True, together=records[0][2].together)


def test_the_order_in_which_runs_are_named_changes_nothing(tmp_path, recipes):
    own, split = texts(30), parts(22, 4, 0, 4)
    made = []
    for turn in (1, -1):
        runs = [run_of(tmp_path / f"{turn}{name}", name, own, split, seed=ord(name)) for name in ("a", "b")]
        train_runs(runs[::turn], [recipes["small-lora"]], tiny=True)
        made.append(
            [
                read_scores(run.path("students") / "small-lora" / LAYOUT["validation"], ("gain", "near"))[1]
                for run in runs
            ]
        )
    np.testing.assert_array_equal(made[0], made[1])


def test_a_filter_alone_is_what_training_alone_gives(tmp_path, recipes):
    """With one member and no rows to exclude, multi-task training equals training alone."""
    run = run_of(tmp_path / "run", "gains", texts(30), parts(22, 4, 0, 4))
    dataset = Dataset.load(run.path("rows"), ("gain", "near"))
    (joint,) = fit_together(
        load_recipe(recipes["small-full"]),
        [Member.of("gains", dataset)],
        workdir=tmp_path / "joint",
        holdout=0,
        tiny=True,
    )
    alone = fit(
        load_recipe(recipes["small-full"]),
        dataset.part("train"),
        dataset.part("validation"),
        workdir=tmp_path / "alone",
        holdout=0,
        tiny=True,
    )
    np.testing.assert_allclose(joint.validation, alone.validation, atol=1e-5)


def test_runs_of_one_filter_and_of_other_scales_are_refused(tmp_path, recipes):
    own, split = texts(20), parts(14, 3, 0, 3)
    first, twin = (run_of(tmp_path / name, "gains", own, split) for name in ("one", "two"))
    with pytest.raises(BadInput, match=r"two: is a run of the filter gains, as .*one is"):
        train_runs([first, twin], [recipes["small-lora"]], tiny=True)
    wide = run_of(tmp_path / "wide", "wide", own, split, scale=20)
    with pytest.raises(RecipeError, match=r"need one scale; got .*one 0 to 10, .*wide 0 to 20"):
        train_runs([first, wide], [recipes["small-lora"]], tiny=True)


def test_a_recipe_that_reads_a_rubric_serves_one_filter(tmp_path, recipes):
    own, split = texts(20), parts(14, 3, 0, 3)
    runs = [run_of(tmp_path / name, name, own, split) for name in ("a", "b")]
    reading = tmp_path / "reading.yaml"
    reading.write_text(recipes["small-full"].read_text() + "instruction: true\n")
    with pytest.raises(RecipeError, match="serves that filter alone; train without --with"):
        train_runs(runs, [reading], tiny=True)


def test_a_student_trained_alone_replaces_one_trained_with_others(tmp_path, recipes):
    own, split = texts(30), parts(22, 4, 0, 4)
    runs = [run_of(tmp_path / name, name, own, split) for name in ("a", "b")]
    train_runs(runs, [recipes["small-lora"]], tiny=True)
    (record,) = train_run(runs[0], [recipes["small-lora"]], tiny=True, resume=True)
    assert record.together == ()


def test_a_recipe_of_fewer_layers_is_tried_on_a_tiny_network_together_as_alone(tmp_path, recipes):
    own, split = texts(30), parts(22, 4, 0, 4)
    runs = [run_of(tmp_path / name, name, own, split) for name in ("a", "b")]
    shallow = tmp_path / "shallow.yaml"
    shallow.write_text(recipes["small-full"].read_text() + "keep_layers: [0, 2, 5]\n")
    together = train_runs(runs, [shallow], tiny=True)
    alone = train_run(runs[0], [shallow], tiny=True)
    assert {record.counts.base for records in (*together, alone) for record in records} == {alone[0].counts.base}

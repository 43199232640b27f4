import dataclasses
import json
import signal
import subprocess
import sys
import textwrap

import numpy as np
import polars as pl
import pytest
from tiny_bundle import FILTER, articles, neural_student, tfidf_student
from tiny_network import TEXTS as NETWORK_TEXTS

from potstill.articles import open_writer, read_all
from potstill.bundle.golden import TEXTS
from potstill.errors import ArticleError, BadInput, BundleError
from potstill.scorer import BATCH, EMPTY, NOT_FINITE, Scorer, score_file
from potstill.types import Article


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class TestOneText:
    def test_a_verdict_has_scores_intervals_overall_and_tier(self, tfidf):
        verdict = tfidf.score("library school harvest rescued town street council market")
        assert set(verdict.scores) == {"gain", "near"}
        low, high = verdict.intervals["gain"]
        assert 0 <= low <= verdict.scores["gain"] <= high <= 10
        assert verdict.overall == pytest.approx(0.75 * verdict.scores["gain"] + 0.25 * verdict.scores["near"], abs=1e-8)
        assert verdict.tier in FILTER.tier_names

    def test_good_news_scores_above_bad(self, tfidf):
        good, bad = tfidf.score_many(["library rescued garden clinic", "fire theft crash fraud"])
        assert good.scores["gain"] > bad.scores["gain"] + 3

    def test_a_gate_and_a_cap_that_fire_are_named(self, tfidf):
        verdict = tfidf.score("advertisement fire theft crash strike storm fraud drought closed")
        assert (verdict.gates, verdict.caps) == (("no gain",), ("paid for",))
        assert verdict.overall <= 1

    def test_a_bare_text_gets_the_id_that_a_row_without_one_would_get(self, tfidf, tmp_path):
        row = read_all(lines(tmp_path / "a.jsonl", [{"content": "a library"}]))
        assert tfidf.score("a library").id == row["id"].item()

    @pytest.mark.parametrize("text", ["", "   ", "\n\t", "\0"])
    def test_an_empty_text_is_unscored(self, tfidf, text):
        verdict = tfidf.score(text)
        assert (verdict.tier, verdict.reason, verdict.overall) == ("unscored", EMPTY, None)
        assert (verdict.scores, verdict.intervals) == ({}, {})

    def test_a_dropped_text_has_its_reason_and_no_score(self, tfidf):
        verdict = tfidf.score(Article("x", "How to", "run git clone first"))
        assert (verdict.tier, verdict.reason, verdict.overall) == ("dropped", "code page", None)
        assert (verdict.scores, verdict.gates, verdict.caps) == ({}, (), ())

    @pytest.mark.parametrize("text", ["a" * 1_000_000, "half a pair \ud800", "🙂", "市政府", "\u200b"])
    def test_odd_texts_get_a_verdict(self, neural, text):
        assert neural.score(text).tier in FILTER.tier_names

    def test_a_score_that_is_not_finite_is_unscored_and_says_so(self, folders):
        scorer = Scorer.load(folders["tfidf"])
        broken = scorer.bundle.student
        weights = broken.blocks[0].weights.copy()
        weights[:] = np.nan
        object.__setattr__(broken.blocks[0], "weights", weights)
        verdict = scorer.score("library school harvest")
        assert (verdict.tier, verdict.reason, verdict.scores) == ("unscored", NOT_FINITE, {})


class TestManyTexts:
    @pytest.mark.parametrize("kind", ["tfidf", "neural"])
    def test_the_scores_are_the_trainers_to_a_thousandth(self, folders, kind):
        """More than 100 texts: short, nearly empty, long, and in several scripts."""
        student = tfidf_student() if kind == "tfidf" else neural_student()
        frame, _ = articles(90, seed=5)
        rows = [Article(*row) for row in frame.iter_rows()]
        rows += [Article(f"n{number}", "", text) for number, text in enumerate(NETWORK_TEXTS) if text]
        rows += TEXTS
        assert len(rows) > 100
        texts = [FILTER.text.of(row.title, row.content) for row in rows]
        raw = student.predict(pl.DataFrame({"text": texts}))
        scorer = Scorer.load(folders[kind])
        expected = scorer.bundle.calibration.apply(raw)
        found = [verdict.scores for verdict in scorer.score_many(rows)]
        np.testing.assert_allclose([list(scores.values()) for scores in found], expected, atol=1e-3)

    def test_they_come_in_their_order_whatever_the_batch(self, neural):
        rows = [Article(str(number), "", text) for number, text in enumerate(NETWORK_TEXTS * 3)]
        one, many = list(neural.score_many(rows)), list(neural.score_many(rows, batch_size=1))
        assert [verdict.id for verdict in one] == [row.id for row in rows]
        assert [verdict.tier for verdict in one] == [verdict.tier for verdict in many]

    def test_a_stream_is_read_no_further_than_a_batch_ahead(self, tfidf):
        taken = []

        def endless():
            while True:
                taken.append(1)
                yield "a library"

        next(tfidf.score_many(endless(), batch_size=4))
        assert len(taken) == 4

    def test_no_texts_give_no_verdicts(self, tfidf):
        assert list(tfidf.score_many([])) == []


class TestTierProbabilities:
    @pytest.fixture(scope="class")
    def asking(self, folders):
        return Scorer.load(folders["tfidf"], probabilities=True, ask_oracle_above=0.12)

    def test_nothing_of_them_is_given_unasked(self, tfidf):
        verdict = tfidf.score("library school")
        assert (verdict.tier_probabilities, verdict.ask_oracle) == ({}, None)
        assert not {"tier_probabilities", "ask_oracle"} & set(tfidf.nested_batch(articles(2)[0]).columns)

    def test_each_tier_has_a_probability_and_they_sum_to_one(self, asking):
        good, bad = asking.score_many(["library rescued garden clinic", "fire theft crash fraud"])
        assert set(good.tier_probabilities) == set(FILTER.tier_names)
        assert sum(good.tier_probabilities.values()) == pytest.approx(1)
        assert good.tier_probabilities["lead"] > 0.5 > bad.tier_probabilities["lead"]

    def test_a_cap_in_the_text_leaves_no_doubt(self, asking):
        assert asking.score("advertisement library rescued garden clinic").tier_probabilities["drawer"] == 1

    def test_unsure_tiers_go_to_the_oracle_and_sure_ones_do_not(self, asking):
        frame, _ = articles(60, seed=8)
        scored = asking.score_batch(frame)
        own = [row[f"probability_{row['tier']}"] for row in scored.iter_rows(named=True)]
        assert scored["ask_oracle"].to_list() == [share < asking.only.cut.probability for share in own]
        assert scored["ask_oracle"].n_unique() == 2

    def test_frames_nested_frames_and_single_texts_agree(self, asking):
        frame, _ = articles(10, seed=3)
        flat, nested = asking.score_batch(frame), asking.nested_batch(frame)
        rows = [Article(*row) for row in frame.iter_rows()]
        for verdict, row, line in zip(
            asking.score_many(rows), flat.iter_rows(named=True), nested.iter_rows(named=True), strict=True
        ):
            assert verdict.tier_probabilities == line["tier_probabilities"]
            assert verdict.tier_probabilities == {name: row[f"probability_{name}"] for name in FILTER.tier_names}
            assert verdict.ask_oracle == row["ask_oracle"] == line["ask_oracle"]

    def test_the_mark_alone_may_be_had(self, folders):
        scorer = Scorer.load(folders["tfidf"], ask_oracle_above=0.12)
        columns = scorer.score_batch(articles(2)[0]).columns
        assert columns[-1] == "ask_oracle"
        assert not [name for name in columns if name.startswith("probability_")]
        assert scorer.score("a library").tier_probabilities == {}

    @pytest.mark.parametrize("text", ["", "run git clone first"])
    def test_an_article_without_a_score_has_neither(self, asking, text):
        verdict = asking.score(text)
        assert (verdict.tier_probabilities, verdict.ask_oracle) == ({}, None)
        line = asking.nested_batch(pl.DataFrame({"id": ["a"], "content": [text]}))
        assert line.select("tier_probabilities", "ask_oracle").row(0) == (None, None)

    def test_scores_and_verdicts_are_the_same_with_and_without(self, tfidf, asking):
        frame, _ = articles(30, seed=4)
        plain = tfidf.score_batch(frame)
        assert asking.score_batch(frame).select(plain.columns).equals(plain)

    def test_an_error_rate_that_cannot_be_shown_is_refused_and_the_lowest_is_named(self, folders):
        with pytest.raises(
            BadInput, match=r"80 articles that the bundle was calibrated on can't show .* the lowest is 0\."
        ):
            Scorer.load(folders["tfidf"], ask_oracle_above=0.01)

    @pytest.mark.parametrize("error", [0, 1, -2, float("nan")])
    def test_an_error_rate_that_is_none_is_refused(self, folders, error):
        with pytest.raises(BadInput, match="expected above 0 and below 1"):
            Scorer.load(folders["tfidf"], ask_oracle_above=error)

    def test_a_bundle_of_an_older_potstill_says_that_it_lacks_them(self, tfidf):
        old = tfidf.bundle.calibration.model_copy(update={"residuals": None, "abstention": None})
        bundle = dataclasses.replace(tfidf.bundle, calibration=old)
        with pytest.raises(BadInput, match="built without the errors"):
            Scorer(bundle, probabilities=True)
        with pytest.raises(BadInput, match="built without the rows"):
            Scorer(bundle, ask_oracle_above=0.3)


class TestFrames:
    def test_a_frame_gains_flat_columns_and_keeps_its_own(self, tfidf):
        frame, _ = articles(4)
        scored = tfidf.score_batch(frame.with_columns(region=pl.lit("north")))
        assert scored.columns == [
            "id", "title", "content", "region", "score_gain", "score_near", "low_gain", "low_near", "high_gain",
            "high_near", "overall", "tier", "gates", "caps", "reason", "probability", "cut", "why",
        ]  # fmt: skip
        assert scored["region"].to_list() == ["north"] * 4
        assert scored.schema["gates"] == pl.List(pl.String)

    def test_rows_without_a_score_hold_nulls(self, tfidf):
        frame = pl.DataFrame({"id": ["a", "b"], "title": ["", None], "content": ["git clone", None]})
        scored = tfidf.score_batch(frame)
        assert scored["tier"].to_list() == ["dropped", "unscored"]
        assert scored.select("score_gain", "low_near", "high_gain", "overall").null_count().row(0) == (2, 2, 2, 2)

    def test_columns_of_the_same_name_are_moved_and_not_lost(self, tfidf):
        frame, _ = articles(2)
        scored = tfidf.score_batch(frame.with_columns(tier=pl.lit("old"), overall=pl.lit(1)))
        assert scored["input_tier"].to_list() == ["old", "old"]
        assert scored["input_overall"].to_list() == [1, 1]
        assert "old" not in scored["tier"].to_list()

    def test_a_frame_without_titles_is_scored(self, tfidf):
        frame, _ = articles(3)
        assert tfidf.score_batch(frame.drop("title"))["tier"].is_in(FILTER.tier_names).all()

    @pytest.mark.parametrize(
        ("frame", "message"),
        [
            (pl.DataFrame({"text": ["a"]}), "no column content; there are text"),
            (pl.DataFrame({"content": [1]}), "column content is Int64, expected String"),
        ],
    )
    def test_a_frame_without_texts_is_refused(self, tfidf, frame, message):
        with pytest.raises(BadInput, match=message):
            tfidf.score_batch(frame)

    def test_frames_and_single_texts_agree(self, neural):
        frame, _ = articles(20, seed=3)
        scored = neural.score_batch(frame)
        for row in scored.iter_rows(named=True):
            verdict = neural.score(Article(row["id"], row["title"], row["content"]))
            assert row["score_gain"] == pytest.approx(verdict.scores["gain"], abs=1e-3)
            assert row["tier"] == verdict.tier


class TestFiles:
    def test_json_lines_get_nested_scores_and_keep_their_fields_but_the_text(self, tfidf, tmp_path):
        source = lines(
            tmp_path / "in.jsonl",
            [
                {"id": 7, "title": "T", "content": "library school", "url": "https://x", "tags": ["a", {"b": 1}]},
                {"content": "git clone"},
                {"id": "e", "content": " ", "note": None},
            ],
        )
        summary = score_file(tfidf, source, tmp_path / "out.jsonl")
        scored, dropped, empty = read_lines(tmp_path / "out.jsonl")
        assert scored["id"] == "7"
        assert (scored["url"], scored["tags"]) == ("https://x", ["a", {"b": 1}])
        assert set(scored["scores"]) == {"gain", "near"}
        assert scored["intervals"]["gain"][0] <= scored["scores"]["gain"] <= scored["intervals"]["gain"][1]
        assert "content" not in scored
        assert (dropped["tier"], dropped["reason"], dropped["scores"], dropped["overall"]) == (
            "dropped", "code page", None, None,
        )  # fmt: skip
        assert (empty["tier"], empty["reason"], empty["note"]) == ("unscored", EMPTY, None)
        assert (summary.articles, summary.only.scored) == (3, 1)
        assert summary.only.reasons == {"code page": 1, EMPTY: 1}
        assert sum(summary.only.tiers.values()) == 3

    def test_labels_in_the_input_are_moved_and_not_lost(self, tfidf, tmp_path):
        source = lines(tmp_path / "in.jsonl", [{"content": "library", "scores": {"gain": 1}, "tier": "x"}])
        score_file(tfidf, source, tmp_path / "out.jsonl")
        (row,) = read_lines(tmp_path / "out.jsonl")
        assert (row["input_scores"], row["input_tier"]) == ({"gain": 1}, "x")
        assert row["scores"]["gain"] != 1

    @pytest.mark.parametrize("ending", [".csv", ".parquet"])
    def test_tables_get_flat_columns(self, tfidf, tmp_path, ending):
        frame, _ = articles(30)
        with open_writer(tmp_path / f"in{ending}") as writer:
            writer.write(frame.with_columns(region=pl.lit("north")))
        score_file(tfidf, tmp_path / f"in{ending}", tmp_path / f"out{ending}", batch_size=7)
        read = pl.read_csv if ending == ".csv" else pl.read_parquet
        out = read(tmp_path / f"out{ending}")
        assert out["id"].to_list() == frame["id"].to_list()
        assert out["region"].to_list() == ["north"] * 30
        assert {"score_gain", "low_near", "high_near", "overall", "tier", "gates", "caps", "reason"} <= set(out.columns)
        assert "content" not in out.columns

    def test_formats_may_differ_and_agree(self, tfidf, tmp_path):
        frame, _ = articles(10)
        with open_writer(tmp_path / "in.parquet") as writer:
            writer.write(frame)
        score_file(tfidf, tmp_path / "in.parquet", tmp_path / "out.jsonl.zst", keep_text=True)
        score_file(tfidf, tmp_path / "in.parquet", tmp_path / "out.parquet")
        nested, flat = read_all(tmp_path / "out.jsonl.zst"), pl.read_parquet(tmp_path / "out.parquet")
        assert nested["content"].to_list() == frame["content"].to_list()
        scores = [json.loads(extra)["scores"]["gain"] for extra in nested["extra"]]
        assert scores == flat["score_gain"].to_list()

    def test_batches_of_any_size_give_the_same_file(self, tfidf, tmp_path):
        frame, _ = articles(50)
        with open_writer(tmp_path / "in.jsonl") as writer:
            writer.write(frame)
        for size in (1, 7, BATCH):
            score_file(tfidf, tmp_path / "in.jsonl", tmp_path / f"{size}.jsonl", batch_size=size)
        one, seven, all_ = ((tmp_path / f"{size}.jsonl").read_bytes() for size in (1, 7, BATCH))
        assert one == seven == all_

    def test_a_broken_row_is_named_and_the_old_result_stays(self, tfidf, tmp_path):
        source = tmp_path / "in.jsonl"
        source.write_text('{"content": "library"}\n{"content": 5}\n')
        (tmp_path / "out.jsonl").write_text("old")
        with pytest.raises(ArticleError, match="line 2: field content"):
            score_file(tfidf, source, tmp_path / "out.jsonl", batch_size=1)
        assert (tmp_path / "out.jsonl").read_text() == "old"
        assert sorted(path.name for path in tmp_path.iterdir()) == [".out.jsonl.parts", "in.jsonl", "out.jsonl"]

    def test_an_interrupt_leaves_the_old_result(self, tfidf, tmp_path, monkeypatch):
        frame, _ = articles(10)
        with open_writer(tmp_path / "in.jsonl") as writer:
            writer.write(frame)
        (tmp_path / "out.jsonl").write_text("old")
        batches = iter([tfidf.nested])

        def interrupted(part):
            try:
                return next(batches)(part)
            except StopIteration:
                signal.raise_signal(signal.SIGINT)
                raise AssertionError from None

        scorer = Scorer(tfidf.bundle)
        monkeypatch.setattr(scorer, "nested", interrupted)
        # Shells start background jobs with interrupts ignored, and a test run may be one.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                score_file(scorer, tmp_path / "in.jsonl", tmp_path / "out.jsonl", batch_size=4)
        finally:
            signal.signal(signal.SIGINT, before)
        assert (tmp_path / "out.jsonl").read_text() == "old"
        assert sorted(path.name for path in tmp_path.iterdir()) == [".out.jsonl.parts", "in.jsonl", "out.jsonl"]

    def test_scoring_into_the_source_itself_works(self, tfidf, tmp_path):
        path = lines(tmp_path / "a.jsonl", [{"content": "library"}])
        score_file(tfidf, path, path, keep_text=True)
        assert read_lines(path)[0]["content"] == "library"


class TestLoading:
    def test_what_is_no_bundle_is_refused(self, tmp_path):
        with pytest.raises(BundleError, match="not a bundle"):
            Scorer.load(tmp_path)

    @pytest.mark.parametrize("level", [0, 1, 1.5, -1, float("nan")])
    def test_a_level_that_is_no_share_is_refused(self, folders, level):
        with pytest.raises(BadInput, match="level"):
            Scorer.load(folders["tfidf"], level=level)

    def test_a_higher_level_gives_wider_intervals(self, folders):
        narrow, wide = (Scorer.load(folders["tfidf"], level=level).score("library fire") for level in (0.5, 0.9))
        assert wide.intervals["gain"][0] < narrow.intervals["gain"][0]


HEAVY = ("torch", "transformers", "peft", "accelerate", "sklearn", "scipy", "onnx", "datasketch", "openai", "altair")


def run_python(program, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


BLOCKED = f"""
    import sys

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in {HEAVY!r}:
                raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

    sys.meta_path.insert(0, Blocker())
"""


@pytest.mark.parametrize("kind", ["tfidf", "neural"])
def test_scoring_needs_no_torch_transformers_or_sklearn(folders, tmp_path, kind):
    frame, _ = articles(5)
    with open_writer(tmp_path / "in.jsonl") as writer:
        writer.write(frame)
    program = (
        BLOCKED
        + """
    import potstill
    from potstill.bundle import verify_bundle
    from potstill.scorer import score_file
    verify_bundle(sys.argv[1])
    print(score_file(sys.argv[1], sys.argv[2], sys.argv[3]).only.scored)
    """
    )
    done = run_python(program, folders[kind], tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert (done.returncode, done.stdout.strip()) == (0, "5"), done.stderr


def test_the_blocker_of_the_test_above_blocks():
    done = run_python(BLOCKED + "    import torch")
    assert "torch is blocked" in done.stderr


def test_importing_potstill_loads_no_heavy_library():
    done = run_python("import sys, potstill, potstill.scorer, potstill.cli; print(*sys.modules)")
    assert not {name.split(".")[0] for name in done.stdout.split()} & {*HEAVY, "onnxruntime"}, done.stderr


@pytest.mark.parametrize("kind", ["tfidf", "neural"])
def test_scoring_calls_nobody(folders, kind):
    """Opening a socket or looking up a name fails, and nothing does either."""
    program = """
    import socket, sys

    def refuse(*arguments, **options):
        raise AssertionError(f"a socket: {arguments}")

    socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
    sys.addaudithook(lambda event, arguments: refuse(event) if event.startswith("socket.") else None)
    from potstill.scorer import Scorer
    print(Scorer.load(sys.argv[1], check="all").score("a library in town").tier)
    try:
        socket.create_connection(("127.0.0.1", 9))
    except AssertionError:
        print("blocked")
    """
    done = run_python(program, folders[kind])
    assert done.stdout.split()[1:] == ["blocked"], done.stderr

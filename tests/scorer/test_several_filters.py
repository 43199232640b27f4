"""Tests of several filters in one pass: the same scores as each alone, and each network reads a text once."""

import dataclasses
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from tiny_bundle import YAML, articles, golden, neural_student, tfidf_bundle
from tiny_network import TEXTS, TinyNetwork, tiny_bert, tiny_tokenizer

from potstill.articles import open_writer
from potstill.backends.machine import this_machine
from potstill.backends.plan import PORTABLE, Plan, Variant, library_versions, write_plan
from potstill.bundle import EncoderFiles, write_bundle
from potstill.calibration import fit_calibration
from potstill.dataset import Examples
from potstill.errors import BadInput, BundleError
from potstill.export import export_encoder
from potstill.filters import parse_filter
from potstill.scorer import Scorer, score_file
from potstill.scorer.shared_encoders import SharedEncoder
from potstill.students.heads import LinearHead
from potstill.students.neural import NeuralStudent
from potstill.types import Article


def filter_of(name, *, chars=600, drop="git clone"):
    text = YAML.replace("good-news", name).replace("max_chars: 600", f"max_chars: {chars}").replace("git clone", drop)
    return parse_filter(text, "Score the gain and the nearness.", name)


def exported(folder, *, seed=0, max_tokens=48):
    network = TinyNetwork(tiny_bert(seed=seed), tiny_tokenizer(0), max_tokens=max_tokens)
    found = export_encoder(network, folder, TEXTS)
    return network, EncoderFiles(found.facts, {"model": found.model, "tokenizer": found.tokenizer})


def bundle_of(folder, filter_, network, files, seed):
    """Return a bundle of a filter with its own random head."""
    head = LinearHead(np.random.default_rng(seed).normal(0, 0.6, (32, 2)), np.array([5.0, 4.0]))
    student = NeuralStudent(network, head, filter_.dimension_names)
    frame, scores = articles(80, seed)
    texts = [filter_.text.of(*row) for row in frame.select("title", "content").iter_rows()]
    frame = frame.select("id").with_columns(pl.Series("text", texts))
    rows = Examples(tuple(frame["id"]), frame, scores, np.arange(80), filter_.dimension_names)
    calibration = fit_calibration(
        student.predict(rows.frame), rows.scores, rows.clusters, dimensions=filter_.dimension_names, rules=filter_
    )
    return write_bundle(
        folder,
        student=student,
        recipe="tiny",
        filter_=filter_,
        calibration=calibration,
        golden=golden(rows),
        encoders=[files],
    ).folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Five filters: three share one encoder, one has another encoder, and one has none.

    Of the three, one has a shorter window and drops other articles. The other encoder has the same tokenizer.
    """
    folder = tmp_path_factory.mktemp("bundles")
    shared, other = exported(folder / "shared"), exported(folder / "other", seed=1)
    return {
        "gains": bundle_of(folder / "gains", filter_of("gains"), *shared, seed=1),
        "places": bundle_of(folder / "places", filter_of("places", drop="library"), *shared, seed=2),
        "short": bundle_of(folder / "short", filter_of("short", chars=60), *shared, seed=3),
        "other": bundle_of(folder / "other-bundle", filter_of("other"), *other, seed=4),
        "words": tfidf_bundle(folder / "words").folder,
    }


@pytest.fixture(scope="module")
def together(folders):
    return Scorer.load(list(folders.values()))


@pytest.fixture(scope="module")
def alone(folders):
    return {scorer.only.name: scorer for scorer in map(Scorer.load, folders.values())}


@pytest.fixture
def news(tmp_path):
    frame, _ = articles(23)
    odd = pl.DataFrame(
        [("e", "", ""), ("g", "", "git clone this"), ("l", "", "the library")], frame.schema, orient="row"
    )
    with open_writer(tmp_path / "news.jsonl") as writer:
        writer.write(pl.concat([frame, odd]))
    return tmp_path / "news.jsonl"


class TestScores:
    @given(
        texts=st.lists(
            st.one_of(st.sampled_from([*TEXTS, "git clone", "a library"]), st.text(max_size=80)), max_size=12
        ),
        batch=st.integers(1, 5),
    )
    @settings(max_examples=40)
    def test_are_those_of_each_bundle_alone(self, together, alone, texts, batch):
        rows = [Article(str(number), "", text) for number, text in enumerate(texts)]
        found = list(together.score_many(rows, batch_size=batch))
        for name, scorer in alone.items():
            expected = list(scorer.score_many(rows))
            for one, verdict in zip(expected, (row[name] for row in found), strict=True):
                plain = {"scores": {}, "intervals": {}, "overall": None, "probability": None, "why": None}
                assert dataclasses.replace(one, **plain) == dataclasses.replace(verdict, **plain)
                assert verdict.scores == pytest.approx(one.scores, abs=1e-3)
                assert verdict.overall == pytest.approx(one.overall, abs=1e-3)
                assert verdict.probability == pytest.approx(one.probability, abs=1e-3)

    def test_one_text_has_a_verdict_of_each_filter(self, together):
        assert tuple(together.score("a library on the river")) == together.filters
        assert together.filters == ("gains", "places", "short", "other", "good-news")

    def test_flat_columns_bear_the_filters_names(self, together, alone):
        frame, _ = articles(5)
        flat = together.score_batch(frame)
        own = alone["places"].score_batch(frame)
        added = [name for name in own.columns if name not in frame.columns]
        assert_frame_equal(
            flat.select(pl.col(f"places.{name}").alias(name) for name in added), own.select(added), abs_tol=1e-3
        )
        assert flat.columns[:3] == ["id", "title", "content"]

    def test_no_articles_give_no_rows(self, together):
        empty = pl.DataFrame(schema={"id": pl.String, "title": pl.String, "content": pl.String})
        assert together.nested_batch(empty).height == together.score_batch(empty).height == 0
        assert list(together.score_many([])) == []


class TestOnePass:
    def test_bundles_of_one_network_open_it_once(self, together):
        assert together.networks == 2

    def test_a_network_reads_each_distinct_window_once(self, folders):
        pair = Scorer.load([folders["gains"], folders["places"], folders["short"]])
        (shared,) = pair.encoders._encoders.values()
        before = shared.encoded
        # One text fits every window and one does not; one is dropped by one filter and scored for the others.
        long = "a town by a river " * 30
        list(pair.score_many(["the harvest", long, "the harvest", "a library"]))
        assert shared.encoded - before == 4
        list(pair.score_many(["the harvest"]))
        assert shared.encoded - before == 5

    def test_what_every_filter_drops_is_never_read(self, folders):
        pair = Scorer.load([folders["gains"], folders["short"]])
        (shared,) = pair.encoders._encoders.values()
        before = shared.encoded
        assert {verdict.tier for verdict in pair.score("git clone").values()} == {"dropped"}
        assert shared.encoded == before

    def test_networks_of_one_tokenizer_share_tokens(self, folders, monkeypatch):
        both = Scorer.load([folders["gains"], folders["other"]])
        asked = []
        for shared in both.encoders._encoders.values():
            tokens = shared._encoder.tokens
            monkeypatch.setattr(shared._encoder, "tokens", lambda texts, t=tokens: asked.append(len(texts)) or t(texts))
        list(both.score_many(["the harvest", "a river"]))
        assert sum(asked) == 2

    def test_features_are_forgotten_when_it_ends(self, together):
        together.score("a river")
        assert all(not shared._features for shared in together.encoders._encoders.values())

    def test_a_shared_encoder_says_what_its_own_says(self):
        network = neural_student().encoder
        shared = SharedEncoder(network)
        np.testing.assert_allclose(shared.encode([*TEXTS, TEXTS[0]]), network.encode([*TEXTS, TEXTS[0]]), atol=1e-5)
        assert shared.encode([]).shape == (0, 32)
        assert shared.truncated(TEXTS).tolist() == network.truncated(TEXTS).tolist()
        assert shared.encoded == len(TEXTS)


def test_two_bundles_of_one_filter_are_refused(folders):
    with pytest.raises(BadInput, match=r"gains: is for the filter gains, as .*gains is; one pass takes one bundle"):
        Scorer.load([folders["gains"], folders["places"], folders["gains"]])
    with pytest.raises(BadInput, match="is for the filter"):
        Scorer([Scorer.load(folders["gains"]).bundle] * 2)
    with pytest.raises(BadInput, match="no bundle"):
        Scorer.load([])


def test_a_broken_bundle_among_them_is_named(folders, tmp_path):
    with pytest.raises(BundleError, match="nowhere"):
        Scorer.load([folders["gains"], tmp_path / "nowhere"])


class TestPlans:
    @pytest.fixture
    def planned(self, folders):
        """Writes plans for bundles, and removes them when the test ends."""
        written = []

        def plan(name, **variant):
            hash_ = Scorer.load(folders[name], follow_plan=False).bundle.hash
            made = Plan(
                bundle=hash_,
                machine=this_machine(),
                versions=library_versions(),
                variant=PORTABLE.model_copy(update=variant),
                drift=0.01,
                why="fast",
                proven_on="nothing",
                tried=(),
            )
            written.append(write_plan(folders[name], made))

        yield plan
        for path in written:
            path.unlink()

    def test_one_that_each_has_is_followed(self, folders, planned, capsys):
        planned("gains", token_budget=512)
        planned("places", token_budget=1024)
        found = Scorer.load([folders["gains"], folders["places"]])
        assert [one.bundle.plan.variant.token_budget for one in found.filter_scorers] == [512, 512]
        assert found.networks == 1
        assert capsys.readouterr().err == ""

    def test_one_that_some_lack_is_not_and_it_is_said(self, folders, planned, capsys):
        planned("gains", token_budget=512)
        planned("other", token_budget=2048)
        found = Scorer.load([folders["gains"], folders["places"], folders["other"]])
        plans = [one.bundle.plan for one in found.filter_scorers]
        assert plans[:2] == [None, None]
        # The other network is not shared, and uses its own plan.
        assert plans[2].variant.token_budget == 2048
        said = " ".join(capsys.readouterr().err.split())
        assert "is proven for some bundles of a shared network and not for" in said
        assert f"potstill optimize {folders['places']}" in said

    def test_ones_that_differ_are_not(self, folders, planned, capsys):
        planned("gains")
        planned("places", backend="openvino", precision="bf16")
        found = Scorer.load([folders["gains"], folders["places"]])
        assert [one.bundle.plan for one in found.filter_scorers] == [None, None]
        assert "have plans for ONNX Runtime fp32 and OpenVINO bf16" in " ".join(capsys.readouterr().err.split())

    def test_one_that_cannot_be_kept_is_left_by_all(self, folders, planned, capsys, monkeypatch):
        planned("gains", backend="openvino")
        planned("places", backend="openvino")

        def refuses(variant, *rest):
            if variant.backend == "openvino":
                raise BundleError("this processor lacks the instructions")
            return opens(variant, *rest)

        opens = __import__("potstill.backends.plan", fromlist=["open_variant"]).open_variant
        monkeypatch.setattr("potstill.scorer.shared_encoders.open_variant", refuses)
        found = Scorer.load([folders["gains"], folders["places"]])
        assert [one.bundle.plan for one in found.filter_scorers] == [None, None]
        assert "lacks the instructions" in " ".join(capsys.readouterr().err.split())
        assert Variant(**found.filter_scorers[0].bundle.plan or {}) == PORTABLE


class TestFiles:
    def test_a_line_of_json_has_an_object_for_each_filter(self, together, alone, news, tmp_path):
        summary = score_file(together, news, tmp_path / "all.jsonl", batch_size=7)
        rows = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
        for name, scorer in alone.items():
            one = score_file(scorer, news, tmp_path / "one.jsonl", batch_size=7)
            expected = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text().splitlines()]
            for row, single in zip(rows, expected, strict=True):
                own = {"id": row["id"], "title": row["title"], **row["verdicts"][name]}
                assert own.keys() == single.keys()
                assert (own["tier"], own["reason"], own["gates"]) == (single["tier"], single["reason"], single["gates"])
                assert (own["scores"] or {}) == pytest.approx(single["scores"] or {}, abs=1e-3)
            tally = summary.filters[name]
            assert tally == one.only
        assert (summary.articles, summary.networks) == (26, 2)
        assert summary.filters["gains"].reasons == {"empty text": 1, "code page": 1}
        assert summary.filters["places"].tiers["dropped"] > 1

    def test_an_input_field_of_that_name_is_kept_under_another(self, together, tmp_path):
        (tmp_path / "in.jsonl").write_text('{"content": "a river", "verdicts": [1]}\n')
        score_file(together, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
        row = json.loads((tmp_path / "out.jsonl").read_text())
        assert row["input_verdicts"] == [1]
        assert set(row["verdicts"]) == set(together.filters)

    def test_a_column_with_structs_of_that_name_is_kept_and_does_not_count(self, together, tmp_path):
        verdicts = pl.Series("verdicts", [{"gains": {"tier": "lead", "reason": None}}])
        pl.DataFrame({"content": ["a river"], "verdicts": verdicts}).write_parquet(tmp_path / "in.parquet")
        summary = score_file(together, tmp_path / "in.parquet", tmp_path / "out.parquet")
        row = pl.read_parquet(tmp_path / "out.parquet").row(0, named=True)
        assert row["verdicts"] == {"gains": {"tier": "lead", "reason": None}}
        assert {name: tally.tiers[row[f"{name}.tier"]] for name, tally in summary.filters.items()} == dict.fromkeys(
            together.filters, 1
        )


class TestListOfOne:
    def test_a_list_of_one_bundle_gives_results_by_filter(self, folders, tmp_path):
        scorer = Scorer.load([folders["words"]])
        assert set(scorer.score("a library")) == {"good-news"}
        (tmp_path / "in.jsonl").write_text('{"content": "a river"}\n')
        summary = score_file([folders["words"]], tmp_path / "in.jsonl", tmp_path / "out.jsonl")
        assert set(json.loads((tmp_path / "out.jsonl").read_text())["verdicts"]) == {"good-news"}
        assert summary.only.scored == 1

    def test_what_belongs_to_one_bundle_is_refused_for_a_list(self, folders, together, tmp_path):
        with pytest.raises(BadInput, match="expected a scorer of one bundle, got one of the list good-news"):
            _ = Scorer.load([folders["words"]]).bundle
        with pytest.raises(BadInput, match="a cascade works with one bundle only"):
            Scorer([Scorer.load(folders["words"]).bundle], early=object())
        (tmp_path / "in.jsonl").write_text('{"content": "a river"}\n')
        with pytest.raises(BadInput, match="an oracle answers for one bundle only"):
            score_file(together, tmp_path / "in.jsonl", tmp_path / "out.jsonl", deferral=object())
        summary = score_file(together, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
        with pytest.raises(BadInput, match="got one of gains, places, short, other, good-news"):
            _ = summary.only


def test_passes_with_shared_encoders_follow_each_other(folders):
    """A pass ends by forgetting all features, so another thread must not be in the middle of its own."""
    scorer = Scorer.load([folders["gains"], folders["places"]])
    inside, most = [], []
    predict = scorer.filter_scorers[1].bundle.student.outputs

    def counted(rows):
        inside.append(rows)
        time.sleep(0.05)
        most.append(len(inside))
        inside.pop()
        return predict(rows)

    object.__setattr__(scorer.filter_scorers[1].bundle.student, "outputs", counted)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(scorer.score, ["a river", "a bridge"] * 4))
    assert most == [1] * 8
    assert found == [scorer.score(text) for text in ["a river", "a bridge"] * 4]


def test_a_scorer_of_one_bundle_is_not_locked(folders):
    """Threads that score with it do not wait for each other, because it has no cache that they could mix up."""
    scorer = Scorer.load(folders["gains"])
    inside = threading.Barrier(2, timeout=30)
    predict = scorer.bundle.student.predict

    def meet(rows):
        inside.wait()
        return predict(rows)

    object.__setattr__(scorer.bundle.student, "predict", meet)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(scorer.score, ["a river", "a river"])
    assert first == second


def test_an_operating_point_counts_for_every_filter_and_one_for_a_tier_where_the_tier_is(tmp_path):
    text = YAML.replace("good-news", "front-news").replace("name: lead", "name: front")
    front = tfidf_bundle(
        tmp_path / "front", parse_filter(text, "Score the gain and the nearness.", "front-news")
    ).folder
    good = tfidf_bundle(tmp_path / "good").folder
    scorer = Scorer.load([good, front], decide={"front": "volume=900"})
    assert [str(cut.point) for one in scorer.filter_scorers for cut in one.cuts] == [
        "the oracle's volume",
        "900 per 1,000 articles",
    ]
    both = Scorer.load([good, front], decide="f1")
    assert {str(cut.point) for one in both.filter_scorers for cut in one.cuts} == {"the best F1"}
    with pytest.raises(BadInput, match="'brief' is no positive tier; there are lead, front"):
        Scorer.load([good, front], decide={"brief": "f1"})

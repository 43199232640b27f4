"""Tests of scoring files: what an interruption leaves, what a resume repeats, and that several processes agree."""

import json
import signal
import subprocess
import sys

import polars as pl
import pytest
from filelock import FileLock
from polars.testing import assert_frame_equal
from tiny_bundle import articles

from potstill.articles import open_writer
from potstill.errors import BadInput
from potstill.scorer import Scorer, score_file

# Scores a file and sends itself SIGKILL after a number of batches.
KILLED = """
import os, signal, sys
from potstill.scorer import Scorer, score_file
bundle, source, target, most = sys.argv[1:]
scorer = Scorer.load(bundle)
scored = 0
finish = scorer.finish
def counting(prepared):
    global scored
    if scored == int(most):
        os.kill(os.getpid(), signal.SIGKILL)
    scored += 1
    return finish(prepared)
scorer.finish = counting
score_file(scorer, source, target, batch_size=5, resume=True)
print(scored)
"""


@pytest.fixture(scope="module")
def news(tmp_path_factory):
    path = tmp_path_factory.mktemp("news") / "news.jsonl"
    frame, _ = articles(43)
    with open_writer(path) as writer:
        writer.write(frame)
    return path


class Counting(Scorer):
    """Counts scored articles, and stops after a given number."""

    scored, most = 0, 10**9

    def finish(self, prepared):
        if self.scored >= self.most:
            raise KeyboardInterrupt
        self.scored += prepared[0].articles.height
        return super().finish(prepared)


def counting(scorer):
    """A scorer of the same bundles that counts."""
    return Counting([one.bundle for one in scorer.filter_scorers] if scorer.by_filter else scorer.bundle)


def stopped(scorer, news, target, most=20):
    scorer = counting(scorer)
    scorer.most = most
    with pytest.raises(KeyboardInterrupt):
        score_file(scorer, news, target, batch_size=5)
    assert scorer.scored == most


@pytest.mark.parametrize("kind", ["tfidf", "two"])
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".csv", ".parquet"])
def test_a_resume_scores_only_the_rest_and_ends_as_if_nothing_had_happened(request, news, tmp_path, kind, ending):
    unbroken, target = tmp_path / f"unbroken{ending}", tmp_path / f"out{ending}"
    scorer = request.getfixturevalue(kind)
    score_file(scorer, news, unbroken, batch_size=5)
    stopped(scorer, news, target)
    scorer = counting(scorer)
    summary = score_file(scorer, news, target, batch_size=5, resume=True)
    assert scorer.scored == 23
    assert (summary.resumed, summary.articles) == (20, 43)
    assert [sum(tally.tiers.values()) for tally in summary.filters.values()] == [43] * len(scorer.filters)
    if ending == ".jsonl.gz":
        assert pl.read_ndjson(target).equals(pl.read_ndjson(unbroken))
    else:
        assert target.read_bytes() == unbroken.read_bytes()
    assert not (tmp_path / f".out{ending}.parts").exists()


def test_parquet_is_read_the_same_again(tfidf, news, tmp_path):
    source = tmp_path / "news.parquet"
    pl.read_ndjson(news).with_columns(tags=pl.lit([["a", "b"]]), n=pl.int_range(43)).write_parquet(source)
    stopped(tfidf, source, tmp_path / "out.jsonl")
    assert score_file(tfidf, source, tmp_path / "out.jsonl", batch_size=5, resume=True).resumed == 20


def test_without_resume_all_is_scored_again(tfidf, news, tmp_path):
    stopped(tfidf, news, tmp_path / "out.jsonl")
    assert score_file(tfidf, news, tmp_path / "out.jsonl", batch_size=5).resumed == 0


def test_a_resume_with_nothing_to_go_on_from_is_a_beginning(tfidf, news, tmp_path):
    assert score_file(tfidf, news, tmp_path / "out.jsonl", resume=True).resumed == 0


def test_articles_that_changed_meanwhile_are_scored_again(tfidf, news, tmp_path):
    source = tmp_path / "news.jsonl"
    rows = [json.loads(line) for line in news.read_text().splitlines()]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    stopped(tfidf, source, tmp_path / "out.jsonl")
    rows[7]["content"] += " harvest"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = score_file(tfidf, source, tmp_path / "out.jsonl", batch_size=5, resume=True)
    score_file(tfidf, source, tmp_path / "all.jsonl", batch_size=5)
    assert summary.resumed == 15
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "all.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("options", "what"),
    [({"level": 0.8}, "--coverage"), ({"keep_text": True}, "--keep-text"), ({"batch_size": 6}, "--batch-size")],
)
def test_a_resume_with_other_settings_is_refused(tfidf, news, tmp_path, options, what):
    stopped(tfidf, news, tmp_path / "out.jsonl")
    scorer = Scorer(tfidf.bundle, level=options.pop("level", 0.9))
    with pytest.raises(BadInput, match=f"begun with another {what}; resume with the same, or begin again"):
        score_file(scorer, news, tmp_path / "out.jsonl", resume=True, **({"batch_size": 5} | options))
    assert len(list((tmp_path / ".out.jsonl.parts").glob("*.arrow"))) == 4


def test_a_resume_at_another_operating_point_is_refused(tfidf, news, tmp_path):
    stopped(tfidf, news, tmp_path / "out.jsonl")
    scorer = Scorer(tfidf.bundle, decide="recall=0.5")
    with pytest.raises(BadInput, match="begun with another --decide; resume with the same, or begin again"):
        score_file(scorer, news, tmp_path / "out.jsonl", batch_size=5, resume=True)


def test_several_processes_decide_at_the_operating_point_that_was_asked_for(tfidf, news, tmp_path):
    scorer = Scorer(tfidf.bundle, decide="volume=900")
    one = score_file(scorer, news, tmp_path / "one.parquet", batch_size=5)
    two = score_file(scorer, news, tmp_path / "two.parquet", batch_size=5, processes=2)
    assert one.only.tiers == two.only.tiers
    assert one.only.tiers["lead"] > score_file(tfidf, news, tmp_path / "own.parquet").only.tiers["lead"]
    assert_frame_equal(pl.read_parquet(tmp_path / "one.parquet"), pl.read_parquet(tmp_path / "two.parquet"))


def test_a_resume_with_other_bundles_is_refused(tfidf, two, news, tmp_path):
    stopped(tfidf, news, tmp_path / "out.jsonl")
    with pytest.raises(BadInput, match=r"begun with another .*bundle"):
        score_file(two, news, tmp_path / "out.jsonl", batch_size=5, resume=True)


def test_a_stream_cannot_be_resumed(tfidf, news, tmp_path):
    with pytest.raises(BadInput, match="--resume needs a file"):
        score_file(tfidf, "-", tmp_path / "out.jsonl", resume=True)
    with pytest.raises(BadInput, match="--resume needs a file"):
        score_file(tfidf, news, "-", resume=True)


def test_two_writers_of_one_file_are_one_too_many(tfidf, news, tmp_path):
    folder = tmp_path / ".out.jsonl.parts"
    folder.mkdir()
    with FileLock(folder / "lock"), pytest.raises(BadInput, match="another potstill process is writing it"):
        score_file(tfidf, news, tmp_path / "out.jsonl")
    assert folder.exists()


def test_what_a_kill_left_of_the_target_goes(tfidf, news, tmp_path):
    stopped(tfidf, news, tmp_path / "out.jsonl")
    (tmp_path / ".out.jsonl.abc.part").write_text("half")
    (tmp_path / ".other.jsonl.abc.part").write_text("another's")
    score_file(tfidf, news, tmp_path / "out.jsonl", batch_size=5, resume=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.jsonl.abc.part", "out.jsonl"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_three_times_the_result_is_that_of_an_unbroken_run(tfidf, news, tmp_path):
    score_file(tfidf, news, tmp_path / "unbroken.jsonl", batch_size=5)
    arguments = [sys.executable, "-c", KILLED, str(tfidf.bundle.folder), str(news), str(tmp_path / "out.jsonl")]
    codes, scored = [], 0
    for most in ("2", "0", "3", "99"):
        done = subprocess.run([*arguments, most], capture_output=True, text=True, check=False)
        codes.append(done.returncode)
        scored += int(done.stdout or most)
    assert codes == [-signal.SIGKILL] * 3 + [0]
    # There are nine batches, and each of the two killed processes had scored only its own.
    assert scored == 9
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "unbroken.jsonl").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "unbroken.jsonl"]


@pytest.mark.parametrize("kind", ["tfidf", "two"])
def test_several_processes_say_what_one_says(request, news, tmp_path, kind):
    scorer = request.getfixturevalue(kind)
    score_file(scorer, news, tmp_path / "one.parquet", batch_size=5)
    score_file(scorer, news, tmp_path / "two.parquet", batch_size=5, processes=2)
    assert_frame_equal(pl.read_parquet(tmp_path / "one.parquet"), pl.read_parquet(tmp_path / "two.parquet"))


def test_a_network_gives_the_same_rows_too(neural, news, tmp_path):
    score_file(neural, news, tmp_path / "unbroken.jsonl", batch_size=5)
    stopped(neural, news, tmp_path / "out.jsonl")
    score_file(neural, news, tmp_path / "out.jsonl", batch_size=5, resume=True)
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "unbroken.jsonl").read_bytes()


class TestLengths:
    """Texts of the maximum length, texts without tokens, and no texts at all."""

    @pytest.mark.parametrize("kind", ["tfidf", "neural"])
    @pytest.mark.parametrize("letter", ["x", "字", "🙂"])
    def test_a_million_characters_are_scored(self, request, tmp_path, kind, letter):
        source = tmp_path / "in.jsonl"
        long = letter * 1_000_000
        source.write_text(json.dumps({"content": long}) + "\n" + json.dumps({"content": long[:600]}) + "\n")
        score_file(request.getfixturevalue(kind), source, tmp_path / "out.jsonl")
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert rows[0]["overall"] is not None
        # The window of the filter is 600 characters.
        assert rows[0]["scores"] == pytest.approx(rows[1]["scores"], abs=1e-6)

    @pytest.mark.parametrize("text", ["\u200b", "\ufeff.", "\u0301", "   .   "])
    def test_a_text_of_which_a_tokenizer_leaves_little_or_nothing_is_scored(self, neural, tmp_path, text):
        source = tmp_path / "in.jsonl"
        source.write_text(json.dumps({"content": text}) + "\n")
        assert score_file(neural, source, tmp_path / "out.jsonl").only.scored == 1

    @pytest.mark.parametrize("kind", ["tfidf", "neural"])
    def test_no_articles_give_no_rows(self, request, tmp_path, kind):
        (tmp_path / "in.jsonl").write_text("")
        summary = score_file(request.getfixturevalue(kind), tmp_path / "in.jsonl", tmp_path / "out.jsonl")
        assert (summary.articles, (tmp_path / "out.jsonl").read_text()) == (0, "")

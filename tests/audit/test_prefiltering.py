import numpy as np
import polars as pl
import pytest
from labels import WEATHER

from potstill.audit import Answer, dropped_by, judge
from potstill.audit.prefiltering import prefiltering_of
from potstill.errors import FilterError, OracleError
from potstill.oracle.replay import ReplayOracle


def feed(n=20):
    """Return articles of which every other one is dropped: for sport up to the tenth, as adverts after it."""
    texts = [f"item {i} " + ("a gale " if i % 2 else ("league table " if i < 10 else "buy now ")) for i in range(n)]
    return pl.DataFrame(
        {"id": [f"n{i}" for i in range(n)], "title": [""] * n, "content": texts, "source": ["herald"] * n,
         "language": ["en", "en", "nl", "nl"] * (n // 4)}
    )  # fmt: skip


def answer(score):
    return Answer(np.array([[score, score]], dtype=np.float64))


class TestPrefilterAudit:
    def test_a_dropped_storm_is_missed_and_counted_by_rule_and_language(self):
        judged = {f"n{i}": answer(9 if i == 4 else 1) for i in range(0, 20, 2)}
        found = prefiltering_of(feed(), judged, WEATHER)
        assert (found.articles, found.dropped) == (20, 10)
        assert (found.all.judged, found.all.missed, found.all.rate) == (10, 1, 0.1)
        by_rule = {each.name: each for each in found.by_rule}
        assert (by_rule["sport"].missed, by_rule["sport"].judged) == (1, 5)
        assert (by_rule["advert"].missed, by_rule["advert"].judged) == (0, 5)
        assert [each.name for each in found.by_language] == ["en", "nl"]
        assert [(item.id, item.reason, item.tier) for item in found.items] == [("n4", "sport", "storm")]

    def test_intervals_are_exact(self):
        found = prefiltering_of(feed(), {f"n{i}": answer(1) for i in range(0, 20, 2)}, WEATHER)
        assert found.all.interval.low == 0
        assert found.all.interval.high == pytest.approx(1 - 0.025 ** (1 / 10), abs=1e-6)

    def test_articles_that_nobody_judged_are_no_evidence(self):
        found = prefiltering_of(feed(), {}, WEATHER)
        assert (found.dropped, found.all.judged, found.all.rate, found.all.interval) == (10, 0, None, None)
        assert found.by_language == ()

    def test_kept_articles_and_masked_scores_count_for_nothing(self):
        answers = {"n1": answer(9), "n0": Answer(np.array([[9.0, np.nan]]))}
        assert prefiltering_of(feed(), answers, WEATHER).all.judged == 0

    def test_without_rules_or_positive_tiers_there_is_nothing_to_miss(self):
        bare = WEATHER.model_copy(update={"prefilter": type(WEATHER.prefilter)()})
        with pytest.raises(FilterError, match="no prefilter"):
            prefiltering_of(feed(), {}, bare)
        tame = WEATHER.model_copy(update={"tiers": (WEATHER.tiers[-1],)})
        with pytest.raises(FilterError, match="no tier is marked positive"):
            prefiltering_of(feed(), {}, tame)


class TestJudging:
    def test_the_sample_is_judged_once_and_kept_in_a_ledger_of_its_own(self, tmp_path):
        sample = dropped_by(feed(), WEATHER).head(4)
        recorded = tmp_path / "answers.jsonl"
        recorded.write_text(
            "".join(f'{{"id": "n{i}", "scores": {{"wind": {i}, "rain": null}}}}\n' for i in range(0, 8, 2))
        )
        ledger = tmp_path / "audit" / "dropped.sqlite"
        found = judge(ledger, sample, WEATHER, ReplayOracle(recorded))
        assert {id_: each.scores[0, 0] for id_, each in found.items()} == {"n0": 0, "n2": 2, "n4": 4, "n6": 6}
        assert np.isnan(found["n2"].scores[0, 1])
        assert judge(ledger, sample.head(1), WEATHER, ReplayOracle(recorded)).keys() == {"n0"}

    def test_another_oracles_answers_of_an_earlier_audit_do_not_count(self, tmp_path):
        for name, score in (("strict", 1), ("kind", 9)):
            line = f'{{"id": "n0", "scores": {{"wind": {score}, "rain": {score}}}}}'
            (tmp_path / f"{name}.jsonl").write_text(line + "\n")
            found = judge(
                tmp_path / "dropped.sqlite",
                dropped_by(feed(), WEATHER).head(1),
                WEATHER,
                ReplayOracle(tmp_path / f"{name}.jsonl"),
            )
            assert found["n0"].scores.tolist() == [[score, score]]

    def test_an_oracle_that_cannot_be_asked_stops_the_audit(self, tmp_path):
        from potstill.oracle import Failure

        class Broke(ReplayOracle):
            async def ask(self, request):
                raise Failure("quota", "no money left")

        recorded = tmp_path / "answers.jsonl"
        recorded.write_text("")
        with pytest.raises(OracleError, match="no money left"):
            judge(tmp_path / "dropped.sqlite", dropped_by(feed(), WEATHER), WEATHER, Broke(recorded))


@pytest.mark.threshold(name="FEWEST_JUDGED_IN_GROUP")
@pytest.mark.parametrize(("judged", "shown"), [(4, []), (5, ["nl"]), (6, ["nl"])])
def test_a_language_is_listed_if_five_of_its_dropped_articles_were_judged(judged, shown):
    answers = {f"n{i}": answer(1) for i in range(2, 4 * judged, 4)}
    assert [each.name for each in prefiltering_of(feed(40), answers, WEATHER).by_language] == shown

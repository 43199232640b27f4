import time
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from weather import FILTER, some_articles, some_labels

from potstill.cli.dataset import described
from potstill.dataset import (
    assemble,
    assembling,
    check_labels,
)
from potstill.errors import DatasetError, LabelError


class TestAssemble:
    def test_rows_are_the_labelled_articles_in_their_order(self):
        made, record, _ = assemble(some_articles(25), some_labels(20).reverse(), FILTER)
        assert made.frame["id"].to_list() == [f"a{i}" for i in range(20)]
        assert made.frame.columns == [
            *("id", "title", "text", "cut", "cluster", "split"),
            *("y_wind", "s_wind", "y_rain", "s_rain", "samples"),
        ]
        assert record.unlabelled == 5
        assert record.parts == {"train": 16, "validation": 2, "test": 2}
        assert record.oracle == "rehearsal"
        assert record.calibration == "cross-fitted"
        assert any("calibration is cross-fitted" in note for note in record.notes)

    def test_the_text_is_the_window_of_the_filter(self):
        articles = some_articles().with_columns(title=pl.lit("Storm"), content=pl.lit("rain " * 20))
        articles = articles.with_columns(content=pl.concat_str(pl.col("id"), pl.lit(" "), pl.col("content")))
        made, record, _ = assemble(articles, some_labels(), FILTER)
        assert made.frame["text"][3] == "Storm\n\na3 rain rain rain rain rain rain"
        assert record.cut == 20

    def test_copies_share_a_cluster_and_a_part(self):
        articles = some_articles().with_columns(
            content=pl.when(pl.col("id").is_in(["a3", "a17"])).then(pl.lit("snow in may")).otherwise("content")
        )
        made, record, pairs = assemble(articles, some_labels(), FILTER)
        assert (3, 17, 1.0) in pairs
        assert made.frame["cluster"][3] == made.frame["cluster"][17]
        assert made.frame["split"][3] == made.frame["split"][17]
        assert record.near_duplicates == len(pairs)

    def test_a_given_split_is_taken_as_it_is_and_near_duplicates_across_it_are_counted(self):
        split = [*["train"] * 13, *["validation"] * 3, "calibration", *["test"] * 3]
        articles = some_articles(given_split=split).with_columns(
            content=pl.when(pl.col("id").is_in(["a3", "a17"])).then(pl.lit("snow in may")).otherwise("content")
        )

        made, record, pairs = assemble(articles, some_labels(), FILTER, seed=3)

        assert made.frame["split"].to_list() == split
        assert record.whole == "given"
        assert record.parts == {"train": 13, "validation": 3, "calibration": 1, "test": 3}
        assert record.fractions["train"] == 0.65
        assert len(record.notes) == 1
        assert record.notes[0].startswith(f"1 of {len(pairs)} pairs of near-duplicates are in different splits of the")
        assert "each in one part" not in "\n".join(described(record))

    @pytest.mark.parametrize(
        ("split", "options", "message"),
        [
            ([None, *["train"] * 19], {}, "1 of 20 labelled articles have no split, such as a0"),
            (["train"] * 20, {}, "no labelled article is in the split 'validation'"),
            (
                ["train"] * 20,
                {"whole": "source"},
                r"with their split \(--split-column\), so --keep-whole source has no",
            ),
        ],
    )
    def test_a_given_split_that_cannot_be_used_is_refused(self, split, options, message):
        with pytest.raises(DatasetError, match=message):
            assemble(some_articles(given_split=split), some_labels(), FILTER, **options)

    def test_masked_labels_stay_masked(self):
        labels = some_labels(y_rain=[None] * 3 + [float(i) / 2 for i in range(17)])
        made, record, _ = assemble(some_articles(), labels, FILTER)
        assert record.masked == {"wind": 0, "rain": 3}
        assert np.isnan(made.all().scores[:3, 1]).all()
        assert made.frame["y_rain"].null_count() == 3

    def test_an_article_without_any_label_is_left_out_and_counted(self):
        labels = some_labels(y_rain=[None, *np.arange(19.0) / 2], y_wind=[float("nan"), *np.arange(19.0) / 2])
        _, record, _ = assemble(some_articles(), labels, FILTER)
        assert record.rows == 19
        assert record.unlabelled == 1
        assert "1 articles whose labels are all masked are left out" in record.notes

    def test_source_language_and_time_come_from_columns_or_from_extra(self):
        typed = some_articles(source=["bbc"] * 20, language=["en"] * 20)
        as_json = some_articles(extra=['{"source": "bbc", "language": "en", "published": null, "n": 3}'] * 20)
        for articles in (typed, as_json):
            made, _, _ = assemble(articles, some_labels(), FILTER)
            assert made.frame["source"].to_list() == ["bbc"] * 20
            assert made.all().frame["language"].to_list() == ["en"] * 20
            assert "published" not in made.frame.columns

    @pytest.mark.parametrize(
        ("value", "text"),
        [(["a", "b"], '["a","b"]'), ({"name": "a"}, '{"name":"a"}'), (timedelta(hours=1), "PT3600S")],
    )
    def test_a_fact_that_is_no_text_is_as_it_would_be_in_json_lines(self, value, text):
        made, _, _ = assemble(some_articles(source=[value] * 20), some_labels(), FILTER)
        assert made.frame["source"].to_list() == [text] * 20

    def test_a_dimension_of_one_value_is_remarked_on(self):
        _, record, _ = assemble(some_articles(), some_labels(y_rain=[4.0] * 20), FILTER)
        assert "rain: every label is 4, so nothing can be learned" in record.notes

    def test_a_dimension_without_labels_is_remarked_on(self):
        _, record, _ = assemble(some_articles(), some_labels(y_rain=[None] * 20), FILTER)
        assert "rain: there are no labels, so nothing can be learned" in record.notes

    def test_labels_that_never_vary_are_refused(self):
        with pytest.raises(DatasetError, match=r"no dimension's labels vary.*wind: every label is 2.*rain"):
            assemble(some_articles(), some_labels(y_rain=[4.0] * 20, y_wind=[2.0] * 20), FILTER)

    @pytest.mark.parametrize("value", [10.5, -0.1, float("inf"), float("-inf")])
    def test_a_label_off_the_scale_names_article_dimension_and_scale(self, value):
        labels = some_labels(y_rain=[5.0] * 7 + [value] + [3.0] * 12)
        with pytest.raises(LabelError, match=f"article a7: rain: {value:g} is outside the scale 0 to 10"):
            assemble(some_articles(), labels, FILTER)

    def test_no_labels_and_no_labelled_article_are_told_apart(self):
        with pytest.raises(DatasetError, match="the ledger contains no labels"):
            assemble(some_articles(), some_labels(0), FILTER)
        with pytest.raises(DatasetError, match="no labelled article"):
            assemble(some_articles().with_columns(id=pl.lit("b") + pl.col("id")), some_labels(), FILTER)

    def test_an_article_that_comes_twice_is_named(self):
        with pytest.raises(DatasetError, match="article a0 occurs twice"):
            assemble(pl.concat([some_articles(), some_articles(1)], how="vertical_relaxed"), some_labels(), FILTER)

    def test_several_oracles_ask_for_a_choice(self):
        labels = pl.concat([some_labels(), some_labels(oracle="second")])
        with pytest.raises(DatasetError, match=r"labels of 2 oracles: .*rehearsal \(20\).*choose one"):
            assemble(some_articles(), labels, FILTER)
        _, record, _ = assemble(some_articles(), labels, FILTER, oracle="second")
        assert record.oracle == "second"
        assert record.rows == 20
        with pytest.raises(DatasetError, match="no labels of oracle 'third'"):
            assemble(some_articles(), labels, FILTER, oracle="third")

    def test_sources_are_kept_whole_on_request(self):
        sources = [f"s{i % 6}" for i in range(60)]
        made, record, _ = assemble(some_articles(60, source=sources), some_labels(60), FILTER, whole="source")
        assert made.frame.group_by("source").agg(pl.col("split").n_unique())["split"].max() == 1
        assert record.whole == "source"

    def test_without_any_source_they_cannot_be(self):
        with pytest.raises(DatasetError, match="no article has a field 'source'"):
            assemble(some_articles(), some_labels(), FILTER, whole="source")

    def test_sources_tied_by_shared_stories_are_remarked_on(self):
        articles = some_articles(20, source=["ap"] * 15 + [f"s{i}" for i in range(5)])
        _, record, _ = assemble(articles, some_labels(), FILTER, whole="source")
        assert any("sources linked by shared stories contains" in note for note in record.notes)

    def test_by_time_reads_iso_and_mail_dates_and_takes_no_zone_for_utc(self):
        published = [f"2024-05-{day:02d}T10:00:00" for day in range(1, 19)]
        published += ["Sun, 19 May 2024 10:00:00 GMT", "2024-05-20T10:00:00+02:00"]
        articles = some_articles(published=published)
        # All texts differ, because clusters would keep several days together.
        articles = articles.with_columns(content=pl.col("id"))
        made, _, _ = assemble(articles, some_labels(), FILTER, whole="time")
        assert made.frame["split"].to_list() == ["train"] * 16 + ["validation"] * 2 + ["test"] * 2

    def test_a_time_without_a_zone_does_not_depend_on_the_machine(self, monkeypatch):
        monkeypatch.setenv("TZ", "Pacific/Auckland")
        time.tzset()
        try:
            assert assembling._seconds("a0", "1970-01-01T01:00:00") == assembling._seconds("a0", "1970-01-01T01:00:00Z")
        finally:
            monkeypatch.undo()
            time.tzset()

    def test_evening_and_zone_order_the_rows(self):
        published = [f"2021-05-{day:02d}T10:00:00Z" for day in range(1, 17)]
        # By local time without the zone, the second of each pair would come first.
        published += ["June 1, 2021 10:30 AM", "June 1, 2021 9:41 PM"]
        published += ["Thu, 03 Jun 2021 11:00:00 CEST", "Thu, 03 Jun 2021 10:30:00 CET"]
        articles = some_articles(published=published).with_columns(content=pl.col("id"))
        made, record, _ = assemble(articles, some_labels(), FILTER, whole="time")
        assert made.frame["split"].to_list() == ["train"] * 16 + ["validation"] * 2 + ["test"] * 2
        assert "2 of 20 times have no time zone and are taken as UTC" in record.notes
        seconds = [assembling._seconds(*row) for row in articles.select("id", "published").iter_rows()]
        assert seconds == sorted(seconds)

    def test_counts_since_1970_are_times(self):
        published = [1_622_583_660 + 86_400 * day for day in range(20)]
        for times in (published, [float(one) for one in published], [one * 1000 for one in published]):
            articles = some_articles(published=times).with_columns(content=pl.col("id"))
            made, _, _ = assemble(articles, some_labels(), FILTER, whole="time")
            assert made.frame["split"].to_list() == ["train"] * 16 + ["validation"] * 2 + ["test"] * 2

    @pytest.mark.parametrize(
        ("published", "message"),
        [
            (None, "article a0: no field 'published'"),
            (" ", "article a0: no field 'published'"),
            ("yesterday", "article a0: published: 'yesterday' is not a time"),
            (
                "01/02/2024",
                "article a0: published: '01/02/2024' is ambiguous, because the day or the month may come first",
            ),
            ("2024-05-01 10:00 EST", "article a0: published: .* has the time zone EST, which has several meanings"),
        ],
    )
    def test_a_time_that_cannot_be_read_is_named(self, published, message):
        articles = some_articles(published=[published] + ["2024-05-01"] * 19)
        with pytest.raises(DatasetError, match=message):
            assemble(articles, some_labels(), FILTER, whole="time")


def test_nan_passes_as_a_masked_label():
    check_labels(np.array([[float("nan"), 10.0]]), ["a"], ["wind", "rain"], 0, 10)

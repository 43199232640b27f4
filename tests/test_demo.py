"""Tests of the demo's own parts; the stages that it runs have their own tests."""

import pytest
from evaluated_run import evaluated_run
from rich.console import Console

from potstill.cli.demo import ladder_table, verdict_table
from potstill.demo import FILTERS, NEW_TEXTS, RECIPES, Demo, Distilled, lee_articles, recorded_samples, run_demo
from potstill.errors import BadInput
from potstill.evaluation import Evaluation
from potstill.filters import load_filter
from potstill.students.recipes import load_recipe
from potstill.types import Verdict


def test_the_corpus_has_its_350_stories_each_with_an_id_of_its_own():
    pytest.importorskip("gensim")
    stories = list(lee_articles())
    assert len({story.id for story in stories}) == 350
    assert stories[0].content.startswith("Hundreds of people have been forced to vacate")
    assert stories[300].id == "lee-000"


@pytest.mark.parametrize(("name", "passes"), [("front-page", 2), ("uplifting", 2), ("investment-risk", 1)])
def test_every_story_has_recorded_scores_for_every_dimension(name, passes):
    dimensions = set(load_filter(name).dimension_names)
    rows = list(recorded_samples(name))
    assert len(rows) == 350
    assert {len(row["samples"]) for row in rows} == {passes}
    assert all(set(sample["scores"]) == dimensions for row in rows for sample in row["samples"])


def test_the_stories_and_the_scores_have_the_same_ids():
    pytest.importorskip("gensim")
    assert {story.id for story in lee_articles()} == {row["id"] for row in recorded_samples("front-page")}


def test_a_filter_without_recorded_scores_is_refused_by_name(tmp_path):
    with pytest.raises(BadInput, match="no recorded scores for 'harbour'; the demo has them for: front-page"):
        run_demo(tmp_path, ["front-page", "harbour"])
    with pytest.raises(BadInput, match="no filter is named"):
        run_demo(tmp_path, [])
    assert not list(tmp_path.iterdir())


def test_the_demo_trains_recipes_that_ship():
    assert [load_recipe(name).name for name in RECIPES] == list(RECIPES)
    assert set(FILTERS) <= {"front-page", "uplifting", "investment-risk"}


def shown(table, width):
    console = Console(width=width, record=True)
    console.print(table)
    return console.export_text()


def test_the_ladder_fits_a_terminal_of_eighty_columns_and_the_texts_follow(tmp_path):
    run = evaluated_run(tmp_path)
    evaluation = Evaluation.from_file(run.path("evaluation"))
    one = Distilled(run, evaluation, tmp_path / "report.html")
    verdicts = tuple(
        {
            name: Verdict(text.id, tier, 4.25, {"gain": 4.0}, {"gain": (2.0, 6.0)})
            for name, tier in (("good-news", "page"), ("far-news", "drawer"))
        }
        for text in NEW_TEXTS
    )
    ladder = shown(ladder_table(one), width=80)
    for rung in evaluation.ladder:
        assert rung.name in ladder
        assert f"{rung.judgements[rung.headline].mean.mae:.3f}" in ladder
    assert f"{evaluation.choice.rung} *" in ladder
    texts = shown(verdict_table(Demo((one,), verdicts, 1)), width=120)
    assert all(text.title in texts for text in NEW_TEXTS)
    assert "in one pass with one network" in texts
    assert [texts.count(word) for word in ("good-news", "far-news", "drawer", "gain 4.0 (2.0 to 6.0)")] == [3, 3, 3, 6]
    dropped = Verdict("x", "dropped", None, {}, {}, reason="hot tip")
    assert "dropped" in shown(verdict_table(Demo((one,), ({"good-news": dropped},) * 3, 0)), width=80)

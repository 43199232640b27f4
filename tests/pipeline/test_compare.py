import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from potstill.cli import compare
from potstill.errors import BadInput
from potstill.filters import parse_filter, save_filter
from potstill.metrics import Comparison
from potstill.pipeline.compare import compare_paths, compare_seeds

TEXT = """
name: NAME
version: 2
dimensions:
  harm: {weight: 1, description: How many are hurt}
tiers:
  - {name: lead, when: overall >= 6, positive: true}
  - {name: brief}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("news", "calm"):
        save_filter(parse_filter(TEXT.replace("NAME", name), "Score it.", name), tmp_path / name)
    return tmp_path


def labels(n=250, seed=0, spread=10.0):
    return np.random.default_rng(seed).uniform(0, spread, n)


def file(name, y, noise, seed, *, prefix="a"):
    p = np.clip(y + np.random.default_rng(seed).normal(0, noise, len(y)), 0, 10)
    rows = [
        {"id": f"{prefix}{i}", "y_harm": float(a), "p_harm": float(b)}
        for i, (a, b) in enumerate(zip(y, p, strict=True))
    ]
    (name_ := Path(f"{name}.jsonl")).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(name_)


def test_a_real_improvement_is_told_from_noise_on_the_same_rows(place):
    y = labels()
    good, bad, twin = (file(n, y, s, i) + "@./news" for i, (n, s) in enumerate([("g", 1.0), ("b", 1.6), ("t", 1.0)]))
    found = compare_paths([bad, good, twin])
    assert [entry.name for entry in found.entries][-1] == bad
    verdicts = {(pair.first, pair.second): pair.noise for pair in found.pairs}
    assert verdicts == {(bad, good): False, (bad, twin): False, (good, twin): True}
    assert "only one seed" in found.notes[-1]


def test_seeds_of_a_recipe_are_one_entry_and_both_variances_count(place):
    y = labels()
    a = ",".join(file(f"a{i}", y, 1.0, i) for i in range(3)) + "@./news"
    b = ",".join(file(f"b{i}", y, 1.0, 10 + i) for i in range(3)) + "@./news"
    found = compare_paths([a, b])
    assert [entry.seeds for entry in found.entries] == [3, 3]
    assert found.pairs[0].seeds_counted
    assert found.pairs[0].noise
    assert found.notes == ()


def test_sorting_by_mae_across_filters_is_warned_of_and_skill_decides(place):
    wide = file("wide", labels(), 1.0, 1) + "@./news"
    narrow = file("narrow", labels(seed=5, spread=1.0), 0.5, 2, prefix="b") + "@./calm"
    by_mae = compare_paths([wide, narrow], by="mae")
    assert by_mae.entries[0].name == narrow
    assert any("Compare skill instead" in note for note in by_mae.notes)
    by_skill = compare_paths([wide, narrow])
    assert by_skill.entries[0].name == wide
    assert not any("Sorted by MAE" in note for note in by_skill.notes)
    assert by_skill.pairs == ()
    assert "no article in common" in by_skill.notes[0]


def published(name, **figures):
    Path(f"{name}.json").write_text(json.dumps(figures))
    return f"{name}.json"


def test_published_figures_of_two_filters_stand_side_by_side_by_skill(place):
    """The one with the larger error is the better student, because its oracle's scores vary more."""
    wide = published("wide", filter="news", filter_version=4, mae=1.0, constant_mae=1.7, rows=600, spearman=0.8)
    narrow = published("narrow", filter="calm", filter_version=2, mae=0.7, constant_mae=0.8)
    found = compare_paths([narrow, wide])
    assert [(one.name, one.source) for one in found.entries] == [(wide, "published"), (narrow, "published")]
    assert found.entries[0].skill == pytest.approx(1 - 1 / 1.7, abs=1e-6)
    assert found.pairs == ()
    assert found.notes == (
        (
            "narrow.json, wide.json: figures without predictions, so articles cannot be paired. Compare the skills, "
            "not the errors."
        ),
    )
    assert "Compare skill instead" in compare_paths([narrow, wide], by="mae").notes[0]


def test_without_the_constants_error_there_is_no_skill_and_this_is_said(place):
    known = published("known", filter="news", filter_version=4, mae=1.0, constant_mae=0.9)
    bare = published("bare", filter="calm", filter_version=2, mae=0.7)
    found = compare_paths([bare, known])
    assert [one.name for one in found.entries] == [known, bare]
    assert found.entries[1].skill is None
    assert (
        found.notes[0]
        == "bare.json: the error of a constant on its rows is not known, so its skill is not known either."
    )


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"predictions": []}, "no mae"),
        ({"filter": "a", "filter_version": 1, "mae": -1}, "mae: "),
        ({"filter": "a", "filter_version": 1, "mae": 1, "skil": 1}, "skil: "),
    ],
)
def test_a_file_of_figures_that_is_none_is_refused(place, figures, message):
    with pytest.raises(BadInput, match=message):
        compare_paths([published("a", **figures), published("b", filter="a", filter_version=1, mae=1)])


def test_other_labels_of_the_same_articles_do_not_compare(place):
    found = compare_paths([file("x", labels(), 1, 1) + "@./news", file("y", labels(seed=9), 1, 1) + "@./news"])
    assert "different labels" in found.notes[0]


@pytest.mark.parametrize(
    ("specs", "by", "said"),
    [(["a"], "skill", "at least two"), (["a", "a"], "skill", "all different"), (["a", "b"], "size", "expected skill"),
     (["gone.json", "b"], "skill", "no such file or folder")],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(place, specs, by, said):
    with pytest.raises(BadInput, match=said):
        compare_paths(specs, by=by)


def test_seeds_that_judged_other_rows_are_refused(place):
    one, other = file("a", labels(), 1, 1), file("b", labels(100), 1, 1)
    with pytest.raises(BadInput, match="different rows or labels"):
        compare_paths([f"{one},{other}@./news", f"{one}@./news"])


def test_seeds_that_differ_much_hide_a_difference_that_rows_alone_would_call_real():
    rng = np.random.default_rng(0)
    base = np.abs(rng.normal(0, 1, 400))
    # Each seed shifts all rows by its own amount.
    first = base + np.array([[0.30], [0.00], [0.15]]) + 0.05
    second = base + np.array([[0.25], [0.02], [0.00]])
    assert compare_seeds(first[:1], second[:1], np.arange(400)).p < 0.01
    assert compare_seeds(first, second, np.arange(400)).p > 0.3


def test_a_recipe_against_itself_with_other_seeds_is_noise_nine_times_in_ten():
    rng = np.random.default_rng(1)
    verdicts = []
    for _ in range(50):
        base = np.abs(rng.normal(0, 1, 250))
        sides = [base + rng.normal(0, 0.1, (3, 1)) + rng.normal(0, 0.3, (3, 250)) for _ in range(2)]
        verdicts.append(compare_seeds(*sides, np.arange(250), n=2000).p >= 0.05)
    assert sum(verdicts) >= 45


def test_the_command_prints_verdicts(place):
    app = typer.Typer()
    app.command(name="other")(lambda: None)
    compare.register(app)
    y = labels()
    call = ["compare", file("g", y, 0.5, 1) + "@./news", file("b", y, 2, 2) + "@./news"]
    output = CliRunner().invoke(app, call, catch_exceptions=False).stdout
    assert output.startswith("g.jsonl@./news: lead (or better): ")
    lines = output.splitlines()
    assert lines[2].startswith("g.jsonl@./news minus b.jsonl@./news: lead (or better): recall at equal volume +0.")
    assert lines[4].startswith("g.jsonl@./news")
    assert "p = 0.0002: significant" in output
    assert len(json.loads(CliRunner().invoke(app, [*call, "--json"], catch_exceptions=False).stdout)["pairs"]) == 1


def test_positive_tiers_are_compared_by_recall_at_equal_volume_and_average_precision(place):
    y = labels()
    good, bad, twin = (file(n, y, s, i) + "@./news" for i, (n, s) in enumerate([("g", 0.5), ("b", 3.0), ("t", 0.5)]))
    found = compare_paths([good, bad, twin])
    entry = {one.name: one.positive_tiers[0] for one in found.entries}
    pairs = {(pair.first, pair.second): pair.positive_tiers[0] for pair in found.pairs}
    better, same = pairs[good, bad], pairs[good, twin]
    assert (better.tier, better.oracle, better.at_volume) == ("lead", int((y >= 6).sum()), True)
    assert better.recall == pytest.approx(entry[good].recall - entry[bad].recall, abs=1e-5)
    assert better.average_precision == pytest.approx(
        entry[good].average_precision - entry[bad].average_precision, abs=1e-5
    )
    assert 0 < better.average_precision_interval.low < better.average_precision
    assert same.average_precision_interval.low < 0 < same.average_precision_interval.high


def test_filters_that_differ_have_no_common_positive_tiers(place):
    y = labels()
    (pair,) = compare_paths([file("g", y, 1.0, 1) + "@./news", file("b", y, 1.0, 2) + "@./calm"]).pairs
    assert pair.positive_tiers == ()


@pytest.mark.threshold(name="SIGNIFICANCE")
@pytest.mark.parametrize(("p", "noise"), [(0.0499, False), (0.05, True), (0.0501, True)])
def test_a_difference_is_noise_unless_its_p_value_is_below_5_percent(place, monkeypatch, p, noise):
    monkeypatch.setattr("potstill.pipeline.compare.compare_seeds", lambda *_: Comparison(0.1, 0.0, 0.2, p))
    first, second = (f"{file(name, labels(20), 1.0, seed)}@./news" for seed, name in enumerate("ab"))
    (pair,) = compare_paths([first, second]).pairs
    assert (pair.p, pair.noise) == (p, noise)

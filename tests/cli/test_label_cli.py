"""Tests of the command `potstill label`."""

import json
from pathlib import Path

import pytest
import typer
from decision_servers import decided
from scripted_server import ScriptedServer, completion, error
from typer.testing import CliRunner

from potstill.cli.label import register
from potstill.errors import BadInput, LabelError, OracleError
from potstill.filters import load_filter, save_filter
from potstill.labelling import Ledger

FRONT_PAGE = load_filter("front-page")
GOOD = json.dumps({"scores": dict.fromkeys(FRONT_PAGE.dimension_names, 4.0), "evidence": "e"})


def potstill(*words):
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    result = CliRunner().invoke(app, ["label", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def news(tmp_path):
    path = tmp_path / "news.jsonl"
    path.write_text("".join(json.dumps({"id": f"a{i}", "content": f"Story {i}."}) + "\n" for i in range(4)))
    return path


@pytest.fixture
def recorded(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps({"id": f"a{i}"} | json.loads(GOOD)) + "\n" for i in range(4)))
    return f"replay:{path}"


def test_recorded_answers_become_the_labels_of_a_new_run(tmp_path, news, recorded):
    out = potstill(tmp_path / "run", "--filter", "front-page", "--articles", news, "--oracle", recorded)
    assert out.startswith("4 new answers, 0 already in the ledger, 4 needed\n")
    again = json.loads(potstill(tmp_path / "run", "--oracle", recorded, "--json"))
    assert (again["bought"], again["already"]) == (0, 4)


def test_texts_that_repeat_with_different_recorded_labels_get_the_mean(tmp_path):
    """The texts of a1, a2 and a3 are equal, and a3 has no recorded answer; those of a4 and a5 have equal ones."""
    texts = {
        "a0": "A flood.",
        **dict.fromkeys(("a3", "a1", "a2"), "A strike."),
        **dict.fromkeys(("a4", "a5"), "A vote."),
    }
    values = {"a0": 9, "a1": 2, "a2": 7, "a4": 5, "a5": 5}
    news, labels = tmp_path / "news.jsonl", tmp_path / "labels.jsonl"
    news.write_text("".join(json.dumps({"id": id_, "content": text}) + "\n" for id_, text in texts.items()))
    given = [{"id": id_, "scores": dict.fromkeys(FRONT_PAGE.dimension_names, value)} for id_, value in values.items()]
    labels.write_text("".join(json.dumps(row) + "\n" for row in given))

    out = potstill(tmp_path / "run", "--filter", "front-page", "--articles", news, "--oracle", f"replay:{labels}")

    assert "3 new answers, 3 already in the ledger, 6 needed\n" in out
    assert "bought" not in out
    assert (
        "labels.jsonl: 1 texts repeat with different labels, in 3 articles; each of these texts gets the mean of its "
        "labels\n"
    ) in out
    with Ledger.reading(tmp_path / "run" / "ledger.sqlite") as ledger:
        means = ledger.labels(FRONT_PAGE).select("article", "y_urgency")
    assert dict(means.iter_rows()) == {"a0": 9.0, "a1": 4.5, "a2": 4.5, "a3": 4.5, "a4": 5.0, "a5": 5.0}


def test_the_texts_of_a_folder_are_labelled(tmp_path, recorded):
    texts = tmp_path / "texts"
    texts.mkdir()
    for name in ("a0", "a1"):
        (texts / name).with_suffix(".txt").write_text(f"Story {name}.")
    labels = tmp_path / "labels.jsonl"
    labels.write_text(labels.read_text().replace('"a0"', '"a0.txt"').replace('"a1"', '"a1.txt"'))
    out = potstill(tmp_path / "run", "--filter", "front-page", "--articles", texts, "--oracle", recorded)
    assert out.startswith("2 new answers, 0 already in the ledger, 2 needed\n")


def test_an_address_is_not_fetched(tmp_path, recorded):
    with pytest.raises(BadInput, match=r"download it first: curl -L -o feed\.xml https://herald\.example/feed\.xml$"):
        potstill(
            tmp_path / "run", "--filter", "front-page", "--oracle", recorded,
            "--articles", "https://herald.example/feed.xml",
        )  # fmt: skip


def test_targets_beside_the_filter_come_into_the_run_when_it_starts_and_not_later(tmp_path, news, recorded):
    save_filter(FRONT_PAGE, tmp_path / "mine")
    targets = tmp_path / "mine" / "targets.yaml"
    targets.write_text("targets:\n  - {figure: shipped/judgement/mean/skill, at_least: 0.3}\n")
    words = [tmp_path / "run", "--filter", tmp_path / "mine", "--oracle", recorded]
    potstill(*words, "--articles", news)
    assert (tmp_path / "run" / "filter" / "targets.yaml").read_text() == targets.read_text()
    targets.write_text("targets:\n  - {figure: shipped/judgement/mean/skill, at_least: 0.1}\n")
    potstill(*words)
    assert "0.3" in (tmp_path / "run" / "filter" / "targets.yaml").read_text()


def test_a_plan_needs_no_key_and_makes_nothing(tmp_path, news, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    words = [tmp_path / "run", "--filter", "front-page", "--articles", news, "--oracle", "openai:gpt-x", "--plan"]
    assert "price unknown" in potstill(*words)
    plan = json.loads(potstill(*words, "--prices", "1/2", "--answers", "3", "--json"))
    assert (plan["articles"], plan["calls"]) == (4, 12)
    assert 0 < plan["cost"] < plan["worst_cost"]
    assert not (tmp_path / "run").exists()


def test_a_plan_of_jobs_shows_half_the_price(tmp_path, news):
    words = [tmp_path / "run", "--filter", "front-page", "--articles", news, "--oracle", "anthropic:claude", "--plan"]
    words += ["--prices", "2/4"]
    whole, half = (json.loads(potstill(*words, "--json", *more)) for more in ([], ["--batch"]))
    assert half["cost"] == pytest.approx(whole["cost"] / 2)
    assert half["worst_cost"] == pytest.approx(whole["worst_cost"] / 2)
    assert "at half the price (batch)" in potstill(*words, "--batch")


def test_a_plan_counts_what_a_run_has(tmp_path, news, recorded):
    potstill(tmp_path / "run", "--filter", "front-page", "--articles", news, "--oracle", recorded)
    more = tmp_path / "more.jsonl"
    more.write_text(news.read_text() + '{"id": "new", "content": "New."}\n')
    out = potstill(tmp_path / "run", "--articles", more, "--oracle", recorded, "--plan")
    assert out.startswith("5 articles, 1 answer each: 1 calls to make\n4 answers are already in the ledger\n")


def test_a_live_server_is_paid_within_its_limit(tmp_path, news):
    with ScriptedServer(lambda request, number: completion(GOOD)) as server:
        words = ["--oracle", f"openai:tiny@{server.url}", "--prices", "1/1"]
        out = potstill(tmp_path / "run", "--filter", "front-page", "--articles", news, *words, "--max-calls", "3")
        assert "stopped: the limit is reached: --max-calls 3" in out
        assert "3 calls, 300 tokens in, 60 out, cost $0.000360" in out
        assert "1 new answers" in potstill(tmp_path / "run", *words, "--max-cost", "1")


def test_an_empty_purse_is_an_error_after_what_was_bought_is_told(tmp_path, news):
    def script(request, number):
        return completion(GOOD) if number < 2 else error(402, "insufficient balance")

    with ScriptedServer(script) as server, pytest.raises(OracleError, match="labelling stopped: quota: HTTP 402"):
        potstill(
            tmp_path / "run", "--filter", "front-page", "--articles", news, "--oracle", f"openai:tiny@{server.url}",
            "--concurrency", "1",
        )  # fmt: skip


def test_a_recorded_score_off_the_scale_is_one_clear_line(tmp_path, news, recorded):
    path = Path(recorded.removeprefix("replay:"))
    with path.open("a") as file:
        file.write(json.dumps({"id": "b", "scores": dict.fromkeys(FRONT_PAGE.dimension_names, 11)}) + "\n")
    with pytest.raises(LabelError) as caught:
        potstill(tmp_path / "run", "--filter", "front-page", "--articles", news, "--oracle", recorded)
    assert str(caught.value) == f'{path}: line 5: id "b": human_harm: got 11, expected 0 to 10'
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prices", "1"], "--prices: got 1, expected two prices, such as 0.5/2, or a YAML file"),
        (["--rpm", "0"], "--rpm: got 0, expected a number above 0"),
        (["--drop-job", "batch_1"], "--drop-job goes with --batch"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, news, recorded, words, message):
    with pytest.raises(BadInput, match=message):
        potstill(tmp_path / "run", "--filter", "front-page", "--articles", news, "--oracle", recorded, *words)


def test_an_oracle_that_is_asked_by_levels_gives_labels_with_distributions(tmp_path, news):
    with ScriptedServer(lambda request, number: decided(request, (0.5, 0.3, 0.2))) as server:
        oracle = f"decisions:m?levels=0,5,10@{server.url}"
        first = ["--filter", "front-page", "--articles", news, "--oracle", oracle, "--prices", "1/0"]
        planned = json.loads(potstill(tmp_path / "run", *first, "--plan", "--json"))
        assert (planned["calls"], len(server.requests)) == (4, 0)
        assert potstill(tmp_path / "run", *first, "--max-cost", 1).startswith("4 new answers")
        again = json.loads(potstill(tmp_path / "run", "--oracle", oracle, "--prices", "1/0", "--plan", "--json"))
        assert (again["calls"], again["already_bought"]) == (0, 4)
    with Ledger.reading(tmp_path / "run" / "ledger.sqlite") as ledger:
        labels = ledger.labels(FRONT_PAGE)
    assert labels["oracle"].unique().to_list() == ["decisions:m?levels=0,5,10"]
    assert labels["y_reach"].to_list() == [3.5] * 4
    assert [one["level"] for one in labels["d_reach"][0]] == [0, 5, 10]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("levels=0,5", "levels: got 0,5, expected levels from 0 to 10, the ends of the filter's scale"),
        ("levels=0,five,10", "levels: got '0,five,10', expected numbers joined by commas, such as 0,5,10"),
        ("temperature=0", "got the setting 'temperature', which /decisions does not have"),
    ],
)
def test_levels_and_settings_that_do_not_fit_are_refused_before_anything_is_asked(tmp_path, news, settings, message):
    with ScriptedServer(lambda request, number: decided(request)) as server:
        oracle = f"decisions:m?{settings}@{server.url}"
        with pytest.raises(BadInput, match=message):
            potstill(tmp_path / "run", "--filter", "front-page", "--articles", news, "--oracle", oracle)
        assert server.requests == []

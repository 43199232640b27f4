"""A bake-off: the same articles for each oracle, and what tells them apart."""

import json

import polars as pl
import pytest
from scripted_server import ScriptedServer, completion
from typer.testing import CliRunner

from potstill.articles import open_writer
from potstill.audit.bakeoff import Contender, bake_off
from potstill.cli import build
from potstill.errors import BadInput
from potstill.filters import load_filter
from potstill.labelling import Limits, Price
from potstill.oracle import Settings, open_oracle

FRONT_PAGE = load_filter("front-page")


def answer(score):
    return json.dumps({"scores": dict.fromkeys(FRONT_PAGE.dimension_names, score), "evidence": "e"})


@pytest.fixture
def news(tmp_path):
    path = tmp_path / "news.jsonl"
    with open_writer(path) as writer:
        names = [f"a{i}" for i in range(20)]
        texts = [f"The council of ward {i} met." for i in range(20)]
        writer.write(pl.DataFrame({"id": names, "title": names, "content": texts}))
    return path


@pytest.fixture
def servers():
    def gives(score):
        return ScriptedServer(lambda request, number: completion(answer(score), usage=(1000, 100)))

    with gives(3.0) as strict, gives(8.0) as generous:
        yield strict, generous


def contenders(servers):
    prices = (Price(1.0, 10.0), None)
    return [
        Contender(open_oracle(f"openai:{name}", Settings(base_url=server.url, timeout=10.0)), price)
        for name, server, price in zip(("strict", "generous"), servers, prices, strict=True)
    ]


def test_each_oracle_scores_the_same_drawn_articles(tmp_path, news, servers):
    found = bake_off(tmp_path / "run", FRONT_PAGE, news, contenders(servers), sample=7)
    assert found.articles == 7
    assert [len(server.requests) for server in servers] == [7, 7]
    strict, generous = found.entrants
    assert (strict.labels, strict.calls, strict.tokens_in) == (7, 7, 7000)
    assert strict.cost_per_article == pytest.approx(0.002)
    assert generous.cost is None
    assert (strict.means["overall"], generous.means["overall"]) == (3.0, 8.0)
    [pair] = found.pairs
    assert (pair.rows, pair.mean_difference, pair.mean_bias) == (7, 5.0, -5.0)
    assert sum(strict.tiers.values()) == sum(generous.tiers.values()) == 7
    assert strict.tiers != generous.tiers


def test_going_on_asks_nothing_twice(tmp_path, news, servers):
    first = bake_off(tmp_path / "run", FRONT_PAGE, news, contenders(servers), sample=5)
    again = bake_off(tmp_path / "run", None, news, contenders(servers), sample=5)
    assert [len(server.requests) for server in servers] == [5, 5]
    assert again.pairs == first.pairs


def test_the_limit_holds_over_all_oracles_together(tmp_path, news, servers):
    bake_off(tmp_path / "run", FRONT_PAGE, news, contenders(servers), sample=5, limits=Limits(max_calls=8))
    assert sum(len(server.requests) for server in servers) == 8


def test_one_oracle_is_no_bake_off(tmp_path, news, servers):
    one = contenders(servers)[:1]
    for wrong in ([], one, [*one, *one]):
        with pytest.raises(BadInput, match="two or more different oracles"):
            bake_off(tmp_path / "run", FRONT_PAGE, news, wrong)


def test_the_command_says_who_is_more_generous(tmp_path, news, servers):
    options = [f"--oracle=openai:{name}@{server.url}" for name, server in zip("ab", servers, strict=True)]
    command = ["bakeoff", str(tmp_path / "run"), "--filter=front-page", f"--articles={news}", "--sample=6", *options]
    told = CliRunner().invoke(build(), command)
    assert told.exit_code == 0, told.output
    assert "openai:a against openai:b, 6 articles: difference 5.00" in told.output
    assert "reach: difference 5.00, bias -5.00" in told.output
    as_json = CliRunner().invoke(build(), [*command, "--json"])
    assert json.loads(as_json.stdout)["pairs"][0]["mean_bias"] == -5.0

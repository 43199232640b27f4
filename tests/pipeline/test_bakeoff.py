"""Tests of the bake-off: several oracles label the same articles and are compared."""

import asyncio
import json

import polars as pl
import pytest
from scripted_server import ScriptedServer, completion, error
from typer.testing import CliRunner

from potstill.articles import open_writer
from potstill.cli import build
from potstill.errors import BadInput, LabelError
from potstill.filters import load_filter
from potstill.labelling import Limits, Price
from potstill.oracle import Settings, open_oracle
from potstill.pipeline.bakeoff import Contender, bake_off
from potstill.verdict import Cap

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


def test_caps_of_the_filter_are_in_the_tiers(tmp_path, news, servers):
    capped = FRONT_PAGE.model_copy(update={"caps": (Cap(any=("ward 1",), cap=1.0, reason="ward 1"),)})
    found = bake_off(tmp_path / "run", capped, news, contenders(servers))
    plain = bake_off(tmp_path / "plain", FRONT_PAGE, news, contenders(servers))
    # Only the ward with that number matches; "ward 10" is another word.
    assert (plain.entrants[1].tiers["lead"], found.entrants[1].tiers["lead"]) == (20, 19)
    assert found.entrants[1].tiers["brief"] == 1
    # Mean scores are before caps, so both oracles keep theirs.
    assert found.entrants[1].means == plain.entrants[1].means
    # With the cap, the capped article is in one tier for both oracles; without it no article is.
    assert (plain.pairs[0].tiers.same, found.pairs[0].tiers.same) == (0.0, 0.05)


def test_each_oracle_has_its_own_server_key_and_price(tmp_path, news, monkeypatch):
    asked = {}

    class Keys(ScriptedServer):
        async def _exchange(self, reader, writer):
            head = await reader.readuntil(b"\r\n\r\n")
            asked.setdefault(self.port, set()).update(
                line.split()[-1] for line in head.decode().split("\r\n") if line.lower().startswith("authorization")
            )
            again = asyncio.StreamReader()
            again.feed_data(head + await reader.readexactly(_length(head)))
            return await super()._exchange(again, writer)

    monkeypatch.setenv("FIRST_KEY", "one")
    monkeypatch.setenv("SECOND_KEY", "two")
    table = tmp_path / "prices.yaml"
    table.write_text("openai:a: {input: 1, output: 10}\nopenai:b: {input: 2, output: 20}\n")
    script = [lambda request, number: completion(answer(5.0), usage=(1000, 100))] * 2
    with Keys(script[0]) as first, Keys(script[1]) as second:
        command = ["bakeoff", str(tmp_path / "run"), "--filter=front-page", f"--articles={news}", "--number=6"]
        command += [f"--oracle=openai:a@{first.url}#FIRST_KEY", f"--oracle=openai:b@{second.url}#SECOND_KEY"]
        command += [f"--prices={table}", "--json"]
        told = CliRunner().invoke(build(), command)
        assert asked == {first.port: {"one"}, second.port: {"two"}}
    costs = [one["cost_per_article"] for one in json.loads(told.stdout)["entrants"]]
    assert costs == pytest.approx([0.002, 0.004])


def _length(head):
    return int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")).split(b":")[1])


def test_a_plan_says_what_each_takes_and_makes_nothing(tmp_path, news):
    command = ["bakeoff", str(tmp_path / "run"), "--filter=front-page", f"--articles={news}", "--number=6", "--plan"]
    command += ["--oracle=openai:gpt-5-mini", "--oracle=openai:unheard-of", "--answers=2"]
    told = CliRunner().invoke(build(), command)
    assert told.exit_code == 0, told.output
    assert told.stdout.count("6 articles, up to 2 answers each: 12 calls to make") == 2
    assert told.stdout.count("price unknown") == 1
    assert not (tmp_path / "run").exists()


def test_an_oracle_that_a_limit_stopped_is_named(tmp_path, news, servers):
    found = bake_off(tmp_path / "run", FRONT_PAGE, news, contenders(servers), sample=5, limits=Limits(max_calls=8))
    assert found.stopped == {"openai:generous": "the limit is reached: --max-calls 8"}


def test_one_oracle_is_no_bake_off(tmp_path, news, servers):
    one = contenders(servers)[:1]
    for wrong in ([], one, [*one, *one]):
        with pytest.raises(BadInput, match="two or more different oracles"):
            bake_off(tmp_path / "run", FRONT_PAGE, news, wrong)


def test_the_command_says_who_is_more_generous(tmp_path, news, servers):
    options = [f"--oracle=openai:{name}@{server.url}" for name, server in zip("ab", servers, strict=True)]
    command = ["bakeoff", str(tmp_path / "run"), "--filter=front-page", f"--articles={news}", "--number=6", *options]
    told = CliRunner().invoke(build(), command)
    assert told.exit_code == 0, told.output
    assert "openai:a against openai:b, 6 articles: difference 5.00" in told.output
    assert "reach: difference 5.00, bias -5.00" in told.output
    as_json = CliRunner().invoke(build(), [*command, "--json"])
    assert json.loads(as_json.stdout)["pairs"][0]["mean_bias"] == -5.0


def test_an_oracle_that_can_never_answer_keeps_no_other_from_being_asked(tmp_path, news, servers, capsys):
    with ScriptedServer(lambda request, number: error(404, "Not Found")) as dead:

        def never(name):
            return Contender(open_oracle(f"openai:{name}", Settings(base_url=dead.url, timeout=10.0)))

        found = bake_off(tmp_path / "run", FRONT_PAGE, news, [never("dead"), *contenders(servers)], sample=5)
        with pytest.raises(LabelError, match=r"no two of the oracles.*openai:dead: .*404.*openai:gone: .*404"):
            bake_off(tmp_path / "other", FRONT_PAGE, news, [never("dead"), never("gone")], sample=5)
    assert [one.labels for one in found.entrants] == [0, 5, 5]
    assert list(found.stopped) == ["openai:dead"]
    assert "404" in found.stopped["openai:dead"]
    assert "openai:dead" in capsys.readouterr().err

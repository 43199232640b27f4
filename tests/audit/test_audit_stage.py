import json
import os
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from browser import browser
from labels import WEATHER, news
from scripted_server import ScriptedServer, completion
from typer.testing import CliRunner

from potstill.audit import Answer, Audit, audit_labels, labelled
from potstill.cli import build
from potstill.errors import BadInput, LabelError
from potstill.pipeline.run import Run
from potstill.report.audit import write_audit


@pytest.fixture(scope="module")
def audited():
    """Two oracles over 120 articles, of which the second scores higher, and three unlabelled articles."""
    articles, answers = news(123, noise=0.4)
    kind = {id_: Answer(np.clip(each.scores[:1] + 1, 0, 10)) for id_, each in list(answers.items())[:40]}
    answers = dict(list(answers.items())[:120])
    oracles = {"two-pass": answers, "kind": kind}
    return audit_labels(labelled(articles, oracles, WEATHER), articles, oracles, resamples=50, suspects=5)


class TestAudit:
    def test_every_part_is_there(self, audited):
        assert audited.rows == 120
        assert audited.oracles == {"two-pass": 120, "kind": 40}
        for part in (
            "repeats",
            "redundancy",
            "suspects",
            "baselines",
            "curve",
            "prefilter",
            "duplicates",
            "truncation",
            "markup",
        ):
            assert getattr(audited, part) is not None, part
        assert audited.skipped == {}
        assert len(audited.suspects.items) == 5

    def test_the_kinder_oracle_is_said_to_be_kinder(self, audited):
        (pair,) = audited.pairs
        assert (pair.first, pair.second, pair.rows) == ("two-pass", "kind", 40)
        assert pair.mean_bias < -0.5
        assert any(f"kind scores {abs(pair.mean_bias):.2f} higher" in finding.text for finding in audited.findings)

    def test_the_advice_comes_with_its_reason_and_the_reminder_with_the_repeats(self, audited):
        texts = [finding.text for finding in audited.findings]
        assert any(text.startswith(f"Advice: {audited.curve.advice}. ") for text in texts)
        assert any("only another oracle or a person can find it" in text for text in texts)

    def test_it_comes_back_from_disk_as_it_was(self, audited, tmp_path):
        audited.save(tmp_path / "audit.json")
        assert Audit.from_file(tmp_path / "audit.json") == audited

    def test_a_newer_one_is_refused(self, audited, tmp_path):
        path = tmp_path / "audit.json"
        path.write_text(json.dumps({**audited.model_dump(mode="json"), "schema_version": 99}))
        with pytest.raises(LabelError, match="schema_version 99 is newer"):
            Audit.from_file(path)

    def test_without_texts_the_rest_is_audited_and_the_lack_is_told(self):
        articles, answers = news(60)
        bare = articles.with_columns(content=articles["title"])
        found = audit_labels(labelled(bare, {"x": answers}, WEATHER), bare, {"x": answers}, resamples=20)
        assert found.repeats is not None
        assert found.curve is None
        assert found.skipped["curve"] == found.skipped["truncation"] == "the articles came without text"


class TestPage:
    def test_every_figure_of_the_page_is_in_the_record(self, audited, tmp_path):
        page = write_audit(audited, tmp_path).read_text(encoding="utf-8")
        record = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
        found = re.findall(r'<data value="([^"]*)" data-file="audit.json" data-field="([^"]*)"', page)
        assert len(found) > 300
        from html import unescape

        for value, field in found:
            place = record
            for step in unescape(field).split("/")[1:]:
                place = place[int(step)] if isinstance(place, list) else place[step]
            assert json.loads(unescape(value)) == place, field

    def test_text_of_an_article_is_only_text_on_the_page(self, tmp_path):
        articles, answers = news(40)
        evil = articles.with_columns(content="<script>alert(1)</script> " + articles["content"])
        found = audit_labels(labelled(evil, {"x": answers}, WEATHER), evil, {"x": answers}, resamples=20)
        page = write_audit(found, tmp_path).read_text(encoding="utf-8")
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page

    def test_what_was_left_out_is_said(self, tmp_path):
        articles, answers = news(40)
        once = {id_: Answer(each.scores[:1]) for id_, each in answers.items()}
        found = audit_labels(labelled(articles, {"x": once}, WEATHER), articles, {"x": once}, learn=False)
        page = write_audit(found, tmp_path).read_text(encoding="utf-8")
        assert "no article was labelled more than once" in page
        assert "not requested" in page

    def test_every_plot_is_drawn_by_the_pages_own_script_alone(self, audited, tmp_path):
        path = write_audit(audited, tmp_path)
        with browser() as chromium:
            page = chromium.open(path.as_uri())
            page.until(
                "document.querySelectorAll('.plot svg').length === document.querySelectorAll('script.spec').length"
            )
            assert page.ask("document.querySelectorAll('.plot svg').length") > 2
            assert page.complaints() == []
            assert page.requested() == [path.as_uri()]


def potstill(*arguments):
    return CliRunner().invoke(build(), [*map(str, arguments)])


class TestCommand:
    def test_a_file_of_labels_is_audited_without_a_run(self, tmp_path):
        labels = Path(str(files("potstill") / "builtin" / "lee-oracle.jsonl"))
        result = potstill("audit", "--labels", f"{labels}#uplifting", "--filter", "uplifting", "-o", tmp_path)
        assert result.exit_code == 0, result.output
        assert "repeat difference 0.138, noise floor 0.069" in result.stdout
        assert (tmp_path / "audit.html").exists()

    def test_json_is_the_whole_record(self, tmp_path):
        labels = tmp_path / "labels.jsonl"
        rows = [{"id": f"a{i}", "scores": {"x": i % 7, "y": i % 5}} for i in range(40)]
        labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
        result = potstill("audit", "--labels", labels, "-o", tmp_path / "out", "--json")
        assert result.exit_code == 0, result.output
        assert Audit.model_validate_json(result.stdout) == Audit.from_file(tmp_path / "out" / "audit.json")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "give either a run folder or --labels FILE"),
            (["run", "--labels", "x.jsonl"], "give either a run folder or --labels FILE"),
            (["run", "--drop-sample", "5"], "--drop-sample and --oracle go together"),
            (["run", "--filter", "uplifting"], "--articles and --filter go with --labels"),
            (["run", "--plan"], "--plan goes with --drop-sample and --oracle"),
            (["--labels", "x.jsonl"], "needs a folder for the audit"),
        ],
    )
    def test_options_that_do_not_go_together_are_told(self, arguments, message):
        result = potstill("audit", *arguments)
        assert isinstance(result.exception, BadInput)
        assert message in str(result.exception)

    def test_labels_that_come_through_a_pipe_are_refused_and_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "labels.jsonl")
        result = potstill("audit", "--labels", tmp_path / "labels.jsonl", "-o", tmp_path / "out")
        assert "is a pipe or a device, but this input is read more than once" in str(result.exception)

    def test_a_file_is_no_folder_for_an_audit(self, tmp_path):
        (tmp_path / "labels.jsonl").write_text('{"id": "a", "scores": {"x": 1}}\n')
        result = potstill("audit", "--labels", tmp_path / "labels.jsonl", "-o", tmp_path / "labels.jsonl")
        assert "labels.jsonl is a file" in str(result.exception)


class TestRun:
    @pytest.fixture
    def run(self, tmp_path):
        """A labelled run, and a pool of articles of which the prefilter drops some."""
        articles, answers = news(40)
        lines = [
            {"id": row["id"], "title": "", "content": row["content"], "source": row["source"], "language": "en"}
            for row in articles.to_dicts()
        ]
        (tmp_path / "news.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        recorded = [
            {"id": id_, "samples": [dict(zip(("wind", "rain"), row, strict=True)) for row in each.scores.tolist()]}
            for id_, each in answers.items()
        ]
        recorded = [{**row, "samples": [{"scores": scores} for scores in row["samples"]]} for row in recorded]
        pool = [{"id": f"p{i}", "content": f"the league table number {i} and a gale"} for i in range(12)]
        recorded += [
            {"id": f"p{i}", "scores": {"wind": 9 if i < 6 else 0, "rain": 9 if i < 6 else 0}} for i in range(12)
        ]
        (tmp_path / "pool.jsonl").write_text("".join(json.dumps(line) + "\n" for line in pool))
        (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in recorded))
        from potstill.filters import save_filter
        from potstill.oracle import open_oracle
        from potstill.pipeline.label import label_run

        save_filter(WEATHER, tmp_path / "weather")
        label_run(
            tmp_path / "run",
            WEATHER,
            tmp_path / "news.jsonl",
            open_oracle(f"replay:{tmp_path / 'answers.jsonl'}"),
            samples=2,
        )
        return tmp_path

    def test_dropped_articles_are_judged_by_the_oracle_and_the_runs_labels_stay(self, run):
        before = (run / "run" / "ledger.sqlite").read_bytes()
        result = potstill(
            "audit", run / "run", "--drop-from", run / "pool.jsonl", "--drop-sample", 8, "--no-learn",
            "--oracle", f"replay:{run / 'answers.jsonl'}", "--json",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        found = Audit.model_validate_json(result.stdout).prefilter
        assert (found.articles, found.dropped, found.all.judged) == (12, 12, 8)
        assert found.all.missed == len([item for item in found.items if item.tier == "storm"]) > 0
        assert (run / "run" / "audit" / "audit.html").exists()
        assert (run / "run" / "ledger.sqlite").read_bytes() == before

    def test_the_audit_is_a_stage_of_the_run(self, run):
        result = potstill("audit", run / "run", "--no-learn")
        assert result.exit_code == 0, result.output
        opened = Run.open(run / "run")
        record = opened.manifest.stages["audit"]
        assert record.seeds == {"audit": 0}
        assert record.inputs == Audit.from_file(opened.path("audit_record")).inputs
        assert record.outputs == {"audit_record": opened.fingerprint("audit_record")}
        status = potstill("status", run / "run").stdout
        assert re.search(r"^  audit +done ", status, re.MULTILINE)
        # The dataset is the next stage whether or not there is an audit.
        assert f"next: potstill dataset {run / 'run'}" in status
        filter_file = run / "run" / "filter" / "filter.yaml"
        filter_file.write_text(filter_file.read_text().replace("league", "cricket"))
        assert re.search(r"^  audit +stale ", potstill("status", run / "run").stdout, re.MULTILINE)

    def test_an_audit_that_goes_elsewhere_is_no_stage(self, run):
        potstill("audit", run / "run", "--no-learn", "-o", run / "elsewhere")
        assert (run / "elsewhere" / "audit.json").exists()
        assert "audit" not in Run.open(run / "run").manifest.stages

    def test_a_plan_says_what_judging_takes_and_asks_nobody(self, run):
        prices = run / "prices.yaml"
        prices.write_text("openai:none: {input: 1, output: 4}\n")
        words = ["audit", run / "run", "--drop-from", run / "pool.jsonl", "--drop-sample", 8, "--oracle", "openai:none"]
        said = potstill(*words, "--prices", prices, "--plan").stdout
        assert said.startswith("8 articles, 1 answer each: 8 calls to make")
        assert f"prices: $1 and $4 per million input and output tokens ({prices})" in said
        assert not (run / "run" / "audit").exists()

    def test_a_limit_in_money_holds_by_the_table_of_prices(self, run):
        answer = json.dumps({"scores": {"wind": 1, "rain": 1}, "evidence": "e"})
        prices = run / "prices.yaml"
        prices.write_text("openai:tiny: {input: 1000, output: 1000}\n")
        with ScriptedServer(lambda request, number: completion(answer, usage=(1000, 100))) as server:
            words = [
                "--drop-from",
                run / "pool.jsonl",
                "--drop-sample",
                8,
                "--oracle",
            ]
            words += [f"openai:tiny@{server.url}", "--prices", prices, "--max-cost", 5.0, "--no-learn", "--json"]
            result = potstill("audit", run / "run", *words)
            # Each call may cost at most about 3, and costs 1.1.
            assert 1 <= len(server.requests) <= 4
        assert result.exit_code == 0, result.output
        assert Audit.model_validate_json(result.stdout).prefilter.all.judged == len(server.requests)

    def test_nothing_is_bought_where_nothing_can_be_missed(self, run):
        from potstill.filters import save_filter

        save_filter(WEATHER.model_copy(update={"tiers": (WEATHER.tiers[-1],)}), run / "run" / "filter")
        result = potstill(
            "audit", run / "run", "--drop-from", run / "pool.jsonl", "--drop-sample", 8, "--oracle", "openai:none"
        )
        assert "no tier is marked positive" in str(result.exception)
        assert not (run / "run" / "audit").exists()

    def test_a_sample_leaves_out_what_is_labelled_and_what_is_dropped(self, run):
        both = (run / "news.jsonl").read_text() + (run / "pool.jsonl").read_text()
        new = "".join(
            json.dumps({"id": f"x{i}", "content": f"a gale of number {i} over Leeds"}) + "\n" for i in range(9)
        )
        (run / "all.jsonl").write_text(both + new)
        result = potstill("sample", run / "run", "--articles", run / "all.jsonl", "-o", run / "next.jsonl", "-n", 6)
        assert result.exit_code == 0, result.output
        chosen = [json.loads(line)["id"] for line in (run / "next.jsonl").read_text().splitlines()]
        assert len(chosen) == 6
        assert all(id_.startswith("x") for id_ in chosen)

    def test_what_is_dropped_can_be_sampled_on_request(self, run):
        potstill(
            "sample", run / "run", "--articles", run / "pool.jsonl", "-o", run / "next.jsonl", "-n", 3, "--dropped"
        )
        chosen = [json.loads(line)["id"] for line in (run / "next.jsonl").read_text().splitlines()]
        assert len(chosen) == 3
        assert all(id_.startswith("p") for id_ in chosen)

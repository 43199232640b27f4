"""Tests that parse a report and find every figure of it in a record."""

import base64
import hashlib
import json
import math
import re
import shutil
from html import unescape
from html.parser import HTMLParser

import polars as pl
import pytest
import yaml
from evaluated_run import evaluated_run

from potstill.files import digest, read_json, sha256, write_json
from potstill.pipeline.run import Run
from potstill.report import write_report
from potstill.report.blocks import write
from potstill.report.rules import RULES


class Page(HTMLParser):
    """Collects the contents of a report: figures, plots, words, and everything that would be fetched."""

    def __init__(self, text):
        super().__init__()
        self.figures, self.specs, self.words, self.absent, self.fetched, self.ids = [], [], [], [], [], []
        self._open = []
        self._figure = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag not in {"meta", "link", "br"}:
            self._open.append((tag, given))
        if tag == "data":
            self._figure = {**given, "text": ""}
        if "id" in given:
            self.ids.append(given["id"])
        self.fetched += [
            value for name, value in attributes if name in {"src", "srcset"} or (name == "href" and value[0] != "#")
        ]
        if tag == "link":
            self.fetched.append(given)

    def handle_endtag(self, tag):
        self._open.pop()
        if tag == "data":
            self.figures.append(self._figure)
            self._figure = None

    def handle_data(self, data):
        tags = [tag for tag, _ in self._open]
        if self._figure is not None:
            self._figure["text"] += data
        elif tags and tags[-1] == "script":
            if self._open[-1][1].get("class") == "spec":
                self.specs.append((self._open[-1][1]["data-for"], json.loads(data)))
        elif any(given.get("class") == "absent" for _, given in self._open):
            self.absent.append(data)
        elif "style" not in tags and not any(given.get("class") == "trace" for _, given in self._open):
            self.words.append(data)


def page_of(run):
    return Page((run.path("report") / "report.html").read_text())


def record_of(run, file):
    """Return the record that the report names: a file of the run, a stage of its manifest, a listing, or the rules."""
    if file == "rules":
        return RULES.content, digest(RULES.content)
    if file.endswith("/"):
        sizes = {path.name: path.stat().st_size for path in (run.folder / file).iterdir()}
        return sizes, digest(sizes)
    if file.endswith(".jsonl"):
        return [json.loads(line) for line in (run.folder / file).open()], sha256(run.folder / file)
    if file.endswith(".yaml"):
        return yaml.safe_load((run.folder / file).read_text()), sha256(run.folder / file)
    name, _, stage = file.partition("#")
    content = read_json(run.folder / name)
    if not stage:
        return content, sha256(run.folder / name)
    content = content["stages"][stage] if stage != "start" else {key: content[key] for key in ("filter", "created")}
    return content, digest(content)


def follow(content, pointer):
    """Return the value at a JSON pointer, or the difference of the values at two."""
    first, minus, second = pointer.partition(" - ")
    if minus:
        return follow(content, first) - follow(content, second)
    for step in (part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]):
        content = content[int(step)] if isinstance(content, list) else content[step]
    return content


def plotted(spec):
    """Return every row of data in a chart."""
    return [row for rows in spec["datasets"].values() for row in rows]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    run = evaluated_run(tmp_path_factory.mktemp("report"))
    history = [
        {
            "epoch": epoch,
            "step": 9 * epoch,
            "learning_rate": 1e-4,
            "train": {
                "rows": 70,
                "loss": 2.0 / epoch,
                "mae": 1.5 / epoch,
                "rmse": 1.9 / epoch,
                "mae_by_dimension": {"gain": 1.0 / epoch, "near": 2.0 / epoch},
            },
            "validation": {
                "rows": 10,
                "loss": 2.5 / epoch,
                "mae": 1.75 / epoch,
                "rmse": 2.25 / epoch,
                "mae_by_dimension": {"gain": 1.25 / epoch, "near": 2.25 / epoch},
            },
            "best": epoch == 3,
            "seconds": 12.5,
        }
        for epoch in (1, 2, 3)
    ]
    student = run.path("students") / "tfidf-ridge"
    write_json(student / "history.json", history)
    write_json(student / "record.json", {**read_json(student / "record.json"), "best_epoch": 3, "epochs": 3})
    write_report(run)
    return run.folder


@pytest.fixture
def run(original, tmp_path):
    return Run.open(shutil.copytree(original, tmp_path / "run"))


def test_every_figure_equals_its_record(original):
    run = Run.open(original)
    page = page_of(run)
    assert len(page.figures) > 200
    for figure in page.figures:
        content, hash_ = record_of(run, figure["data-file"])
        recorded = follow(content, figure["data-field"])
        assert json.loads(figure["value"]) == recorded
        assert figure["data-sha"] == hash_
        kinds = (
            "score",
            "signed",
            "percent",
            "count",
            "plain",
            "milliseconds",
            "rate",
            "seconds",
            "bytes",
            "text",
            "hash",
            "date",
        )
        assert figure["text"] in {write(recorded, kind) for kind in kinds}


def test_no_figure_stands_outside_a_record(original):
    words = " ".join(page_of(Run.open(original)).words)
    # Names with digits, and the ends of bands, are not figures.
    words = re.sub(r"\b\d+ to \d+\b|SHA-256|sha256", "", words)
    assert re.findall(r"\d[\d.,]*", words) == []


def test_every_plotted_figure_equals_its_record(original):
    run = Run.open(original)
    evaluation = read_json(run.path("evaluation"))
    history = read_json(run.path("students") / "tfidf-ridge" / "history.json")
    records = dict.fromkeys(("plot-mae-tfidf-ridge", "plot-loss-tfidf-ridge"), history)
    records["plot-curve-0"] = read_json(run.path("bundle") / "calibration.json")
    checked = 0
    for name, spec in page_of(run).specs:
        for row in plotted(spec):
            if "field" not in row:
                continue
            content = records.get(name, evaluation)
            shown = {row.get(key) for key in ("mae", "bias", "value", "error", "cut")}
            assert follow(content, row["field"]) in shown or (row.get("who") in {"constant", "noise floor"})
            checked += 1
    assert checked > 30


def test_scatter_plots_show_each_unseen_article_once(original):
    run = Run.open(original)
    frame = pl.read_parquet(run.path("predictions")).filter(pl.col("source") == "out-of-fold")
    spec = dict(page_of(run).specs)["plot-scatter-gain"]
    rows = [row for row in plotted(spec) if "id" in row]
    assert len(rows) == frame.height
    assert {row["id"]: row["oracle"] for row in rows} == dict(frame.select("id", pl.col("y_gain").round(3)).iter_rows())


def test_changing_a_record_changes_its_figure_and_nothing_else(run):
    before = page_of(run)
    evaluation = read_json(run.path("evaluation"))
    place = next(i for i, rung in enumerate(evaluation["ladder"]) if rung["name"] == "constant")
    evaluation["ladder"][place]["judgements"]["out-of-fold"]["mean"]["spearman"] = 0.123
    write_json(run.path("evaluation"), evaluation)
    write_report(run)
    after = page_of(run)
    changed = [
        (old["data-field"], new["text"])
        for old, new in zip(before.figures, after.figures, strict=True)
        if (old["data-field"], old["value"], old["text"]) != (new["data-field"], new["value"], new["text"])
    ]
    assert changed == [(f"/ladder/{place}/judgements/out-of-fold/mean/spearman", "0.123")]
    assert after.words == before.words
    assert after.specs == before.specs


def test_a_deleted_record_leaves_no_stale_figure(run):
    (run.path("bundle") / "calibration.json").unlink()
    shutil.rmtree(run.path("students"))
    run.path("predictions").unlink()
    write_report(run)
    page = page_of(run)
    text = " ".join(page.words)
    assert "Not recorded (bundle/calibration.json)." in text
    assert "Predictions: not recorded (predictions.parquet)." in text
    assert "Epochs: not recorded" in text
    assert not [
        figure for figure in page.figures if figure["data-file"].startswith(("bundle/calibration.json", "students/"))
    ]


def test_a_missing_figure_is_said_to_be_missing(run):
    evaluation = read_json(run.path("evaluation"))
    evaluation["shipped"] = None
    write_json(run.path("evaluation"), evaluation)
    write_report(run)
    assert "not recorded" in page_of(run).absent


def test_the_page_fetches_nothing_and_may_not(original):
    page = page_of(Run.open(original))
    assert page.fetched == []
    text = (Run.open(original).path("report") / "report.html").read_text()
    assert "default-src 'none'" in text.replace("&#x27;", "'")
    assert text.count("</script>") == len(page.specs) + 1


def test_anchors_are_unique_and_headings_name_their_sections(original):
    ids = page_of(Run.open(original)).ids
    assert len(ids) == len(set(ids))
    assert {"summary", "ladder", "dimensions", "agreement", "tiers", "training", "data", "calibration"} <= set(ids)


def test_markdown_shows_the_same_figures_and_its_plots_are_there(original):
    run = Run.open(original)
    folder = run.path("report")
    text = (folder / "report.md").read_text()
    evaluation = read_json(run.path("evaluation"))
    for rung in evaluation["ladder"]:
        assert f"{rung['judgements']['out-of-fold']['mean']['mae']:.3f}" in text
    plots = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert {"overall_metrics.png", "per_dimension_mae.png", "loss_curves.png"} <= set(plots)
    for name in plots:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert "/ladder/1/judgements/out-of-fold/mean/mae" in text


def test_every_table_of_the_markdown_has_rows_of_one_width(original):
    text = (Run.open(original).path("report") / "report.md").read_text()
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.sub(r"\\\|", "", line).split("|")) for line in table.splitlines()}
        assert len(widths) == 1


def test_the_stage_is_recorded(original):
    run = Run.open(original)
    assert run.manifest.stages["report"].outputs == {"report": run.fingerprint("report")}


def test_the_page_of_a_run_is_small(original):
    assert (Run.open(original).path("report") / "report.html").stat().st_size < 1_500_000


def test_five_thousand_rows_stay_under_three_megabytes(run):
    frame = pl.read_parquet(run.path("predictions")).filter(pl.col("source") == "out-of-fold")
    many = (
        pl.concat([frame] * math.ceil(5000 / frame.height))
        .with_row_index()
        .with_columns((pl.col("p_gain") + (pl.col("index") % 97) / 97).clip(0, 10))
    )
    many.drop("index").write_parquet(run.path("predictions"))
    write_report(run)
    assert (run.path("report") / "report.html").stat().st_size < 3_000_000


def test_the_policy_lets_the_reports_own_script_run_and_neither_eval_nor_a_connection(original):
    text = (Run.open(original).path("report") / "report.html").read_text()
    policy = unescape(re.search(r'Security-Policy" content="([^"]+)"', text)[1])
    script = text[text.index('<script type="module">') + len('<script type="module">') : text.rindex("</script>")]
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["script-src"] == f"'sha256-{hashed}'"
    assert rules["default-src"] == "'none'"
    assert "eval" not in policy
    assert "connect-src" not in policy


def test_a_report_is_smaller_than_1_3_megabytes(original):
    assert (Run.open(original).path("report") / "report.html").stat().st_size < 1_300_000

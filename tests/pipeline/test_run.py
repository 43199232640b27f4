"""Tests of runs: one folder that tracks which of its results are current."""

import json
import shlex
import sqlite3
import subprocess
import sys

import polars as pl
import pytest

from potstill.errors import RunError
from potstill.filters import load_filter, save_filter
from potstill.labelling.ledger import Answered, Ledger, Question, window_hash
from potstill.operating_points import OperatingPoint
from potstill.oracle.prompt import Prompt
from potstill.pipeline.run import LAYOUT, STAGES, Manifest, Run

FRONT_PAGE = load_filter("front-page")


def answer(run, article, score, sample=0):
    prompt = Prompt.of(run.filter)
    question = Question(article, "o:m", prompt.hash, window_hash(article), sample)
    scores = dict.fromkeys(run.filter.dimension_names, score)
    with Ledger(run.path("ledger")) as ledger:
        ledger.accept(prompt, others=False)
        ledger.know({article: window_hash(article)})
        ledger.record([Answered(question, scores, "", "", False, 1, 1, 0, 0.0)])


def write(run, stage):
    """Write a stand-in for a stage's output."""
    if stage == "label":
        pl.DataFrame({"id": ["a"], "title": [""], "content": ["x"]}).write_parquet(run.path("articles"))
        answer(run, "a", 5.0)
    for name in next(one for one in STAGES if one.name == stage).writes:
        path = run.path(name)
        if path.suffix:
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{name} of {stage}")
        else:
            path.mkdir(exist_ok=True)
            (path / "part.json").write_text(f"{name} of {stage}")


def do(run, *stages):
    for stage in stages:
        with run.recording(stage, parameters={"epochs": 3}, seeds={"split": 7}):
            write(run, stage)


@pytest.fixture
def run(tmp_path):
    """A run in which every stage is done."""
    run = Run.create(tmp_path / "my run #1?%20", FRONT_PAGE)
    do(run, *(stage.name for stage in STAGES))
    return run


def states(run):
    return {status.stage: status.state for status in Run.open(run.folder).status()}


@pytest.mark.parametrize(("version", "state"), [(1, "stale"), (2, "done")])
def test_a_bundle_of_a_form_that_is_no_longer_read_is_stale(run, version, state):
    manifest = run.path("bundle") / "bundle.json"
    manifest.write_text(json.dumps({"schema_version": version}))
    with run.recording("bundle"):
        pass
    found = next(status for status in run.status() if status.stage == "bundle")
    assert found.state == state
    assert ("an older potstill wrote it" in found.why) == (state == "stale")


def why(run, stage):
    return next(status.why for status in Run.open(run.folder).status() if status.stage == stage)


LATER = ("audit", "dataset", "train", "bundle", "cascade", "evaluate", "refit", "fresh", "probe", "report")


def only(run, state, *stages):
    assert states(run) == {stage.name: state if stage.name in stages else "done" for stage in STAGES}


def test_a_new_run_has_all_before_it(tmp_path):
    run = Run.create(tmp_path / "run", FRONT_PAGE)
    assert set(states(run).values()) == {"missing"}
    first = run.status()[0]
    assert (first.stage, first.why, first.command) == (
        "label",
        "never run",
        f"potstill label {tmp_path / 'run'} --oracle ORACLE",
    )


def test_a_run_whose_stages_are_all_recorded_is_done(run):
    only(run, "stale")


def test_a_record_says_what_was_read_and_written_with_which_versions(run):
    record = Run.open(run.folder).manifest.stages["train"]
    assert record.inputs == {"rows": run.fingerprint("rows")}
    assert record.outputs == {"students": run.fingerprint("students")}
    assert (record.parameters, record.seeds) == ({"epochs": 3}, {"split": 7})
    assert {"python", "potstill", "polars"} <= set(record.versions)
    assert record.seconds >= 0


def test_changing_one_label_makes_exactly_the_later_stages_stale(run):
    with sqlite3.connect(run.path("ledger")) as database:
        database.execute("UPDATE calls SET scores = replace(scores, '\"reach\": 5.0', '\"reach\": 5.5')")
    only(run, "stale", *LATER)
    assert why(run, "dataset") == "ledger.sqlite has changed"
    assert why(run, "train") == "dataset is stale"


def test_one_more_label_makes_exactly_the_later_stages_stale(run):
    answer(run, "a", 6.0, sample=1)
    only(run, "stale", *LATER)


def test_what_is_no_label_makes_nothing_stale(run):
    with sqlite3.connect(run.path("ledger")) as database:
        database.execute("UPDATE calls SET seconds = 99.0, raw = 'other', evidence = 'other'")
    only(run, "stale")


def test_doing_the_first_stale_stage_again_with_the_same_outcome_leaves_the_rest_fresh(run):
    answer(run, "a", 6.0, sample=1)
    do(run, "dataset")
    only(run, "stale", "audit")


def test_a_stage_done_again_with_another_outcome_makes_those_below_it_stale(run):
    with run.recording("train"):
        (run.path("students") / "part.json").write_text("another student")
    only(run, "stale", "bundle", "cascade", "evaluate", "refit", "fresh", "probe", "report")


@pytest.mark.parametrize("name", ["acceptance", "decisions", "comparison"])
def test_what_was_decided_or_compared_since_makes_the_report_stale_and_nothing_else(run, name):
    run.path(name).write_text("{}\n")
    only(run, "stale", "report")
    assert why(run, "report") == f"{run.path(name).name} has changed"
    with run.recording("report"):
        pass
    run.path(name).unlink()
    only(run, "stale", "report")
    assert why(run, "report") == f"{run.path(name).name} is gone"


def test_a_filter_whose_tiers_change_needs_no_new_labels(run):
    save_filter(FRONT_PAGE.model_copy(update={"tiers": FRONT_PAGE.tiers[1:]}), run.path("filter"))
    only(run, "stale", "audit", "bundle", "cascade", "evaluate", "refit", "fresh", "probe", "report")


def test_another_operating_point_in_the_filter_needs_no_new_student(run):
    decided = FRONT_PAGE.model_copy(update={"decide": {"lead": OperatingPoint(recall=0.9)}})
    save_filter(decided, run.path("filter"))
    assert load_filter(run.path("filter")).decide == decided.decide
    only(run, "stale", "audit", "bundle", "cascade", "evaluate", "refit", "fresh", "probe", "report")


def test_the_command_that_renews_a_bundle_repeats_its_operating_points(run):
    with run.recording("bundle", parameters={"decide": {"lead": "recall=0.9", "front page": "f1"}}):
        write(run, "bundle")
    command = next(status.command for status in run.status() if status.stage == "bundle")
    assert shlex.split(command)[-4:] == ["--decide", "lead:recall=0.9", "--decide", "front page:f1"]


def test_a_filter_whose_rubric_changes_makes_all_stale(run):
    (run.path("filter") / "rubric.md").write_text("Judge otherwise.\n")
    only(run, "stale", *(stage.name for stage in STAGES))
    assert why(run, "label") == "filter has changed"


@pytest.mark.parametrize(
    ("name", "stage"), [("rows", "dataset"), ("students", "train"), ("bundle", "bundle"), ("evaluation", "evaluate")]
)
def test_an_output_that_was_edited_or_removed_is_noticed(run, name, stage):
    path = run.path(name)
    file = path / "part.json" if path.is_dir() else path
    file.write_text("edited")
    assert states(run)[stage] == "stale"
    assert why(run, stage) == f"{LAYOUT[name]} was changed after it was written"
    file.unlink()
    if path.is_dir():
        path.rmdir()
    assert states(run)[stage] == "missing"
    assert why(run, stage) == f"{LAYOUT[name]} is gone"


@pytest.mark.parametrize("name", ["ledger", "articles"])
def test_labels_without_their_ledger_or_articles_are_missing(run, name):
    run.path(name).unlink()
    assert states(run) == {"label": "missing"} | dict.fromkeys(LATER, "stale")
    assert why(run, "label") == f"{LAYOUT[name]} is gone"
    assert why(run, "dataset") == f"{LAYOUT[name]} is gone"


def test_no_stage_waits_for_one_that_is_optional(run):
    for name in ("audit_record", "fresh_record", "probe_record"):
        run.path(name).unlink()
    # The report showed the results of the evaluation on new articles and of the behaviour tests.
    assert {name for name, state in states(run).items() if state != "done"} == {"audit", "fresh", "probe", "report"}
    assert {status.stage for status in Run.open(run.folder).status() if status.optional} == {
        "audit",
        "cascade",
        "fresh",
        "probe",
    }


def test_a_stage_that_fails_leaves_no_record(run):
    before = Run.open(run.folder).manifest.stages["dataset"]

    def fail():
        with run.recording("dataset"):
            run.path("rows").write_text("half")
            raise RunError("no")

    with pytest.raises(RunError):
        fail()
    assert Run.open(run.folder).manifest.stages["dataset"] == before
    assert states(run)["dataset"] == "stale"


def test_a_second_writer_is_refused_and_a_dead_one_is_none(run):
    program = (
        "import sys\nfrom potstill.pipeline.run import Run\n"
        "with Run.open(sys.argv[1]).locked():\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(run.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(RunError, match="another potstill process is writing to this run"), run.recording("dataset"):
        pass
    assert states(run)["dataset"] == "done"
    other.kill()
    other.wait()
    with run.locked():
        pass


def test_a_record_does_not_overwrite_one_that_another_process_made_meanwhile(run):
    early = Run.open(run.folder)
    do(Run.open(run.folder), "evaluate")
    stamp = Run.open(run.folder).manifest.stages["evaluate"]
    do(early, "report")
    assert Run.open(run.folder).manifest.stages["evaluate"] == stamp


def edit(run, change):
    path = run.path("manifest")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_newer_layout_is_refused(run):
    edit(run, lambda content: content.update(schema_version=Manifest.newest() + 1, new_key=[]))
    with pytest.raises(RunError, match=r"run\.json: schema_version 2 is newer than this potstill reads \(1\)"):
        Run.open(run.folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(extra=1), "run.json: extra: "),
        (lambda content: content["stages"]["train"].update(seconds="long"), "run.json: stages -> train -> seconds: "),
    ],
)
def test_a_manifest_that_is_not_one_is_refused(run, change, message):
    edit(run, change)
    with pytest.raises(RunError, match=message.replace(".", r"\.")):
        Run.open(run.folder)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"not a run folder \(no run\.json\)"):
        Run.open(tmp_path)


def test_a_ledger_that_is_none_is_named(run):
    run.path("ledger").write_bytes(b"no database at all" * 100)
    with pytest.raises(RunError, match=r"ledger\.sqlite: not a readable ledger"):
        run.status()


def test_a_run_is_taken_up_by_its_own_filter_alone(run):
    assert Run.create(run.folder, FRONT_PAGE).manifest == run.manifest
    with pytest.raises(RunError, match="is a run of front-page v1 with other contents"):
        Run.create(run.folder, load_filter("uplifting"))


def test_what_a_stage_needs_is_named_with_the_command_that_makes_it(tmp_path):
    run = Run.create(tmp_path / "run", FRONT_PAGE)
    with pytest.raises(RunError, match=r"articles\.parquet is missing; run: potstill label "):
        run.need("articles", "label")

"""Tests of behaviour tests of bundles, oracles and runs."""

import dataclasses
import json

import numpy as np
import pytest
from evaluated_run import FILTER as RUN_FILTER
from evaluated_run import bundled_run
from scripted_server import ScriptedServer
from tiny_bundle import FILTER, examples, tfidf_bundle

import potstill as ps
from potstill.articles import article_id
from potstill.bundle.reading import Bundle
from potstill.calibration import no_calibration
from potstill.errors import BadInput, FilterError, LabelError, OracleError
from potstill.filters import load_filter, save_filter
from potstill.oracle import open_oracle
from potstill.pipeline.probe import carry_probes, prepare
from potstill.pipeline.run import Run
from potstill.probing import ProbeRecord
from potstill.scorer import Scorer
from potstill.students.constant import fit_constant
from potstill.students.recipes import load_recipe

PROBES = """
ramps:
  gain:
    - [Fire theft crash strike town., Fire theft bridge strike town., School garden bridge clinic town.]
  near:
    - [Garden school ocean treaty., Garden school town treaty., Garden school town market.]
negations:
  gain:
    - {text: Library school harvest clinic., negated: No library but fire theft strike.}
paraphrases:
  - [A garden in the town., In the town a garden.]
"""

ANSWERS = {"Fire theft crash strike town.": (1, 5), "Fire theft bridge strike town.": (4, 5)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tfidf_bundle(tmp_path_factory.mktemp("probe") / "bundle").folder


@pytest.fixture(scope="module")
def built_run(tmp_path_factory):
    return bundled_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def probes(tmp_path):
    path = tmp_path / "probes.yaml"
    path.write_text(PROBES)
    return path


def recorded(check, path, of=lambda text: (5.0, 5.0)):
    """Write an oracle's answers on the texts of a check, and open it as a replay."""
    rows = [
        {"id": id_, "scores": dict(zip(FILTER.dimension_names, of(content), strict=True))}
        for id_, content in check.questions.select("id", "content").iter_rows()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_oracle(f"replay:{path}")


def by_words(text):
    """Score as an oracle that counts good words and near words."""
    words = text.lower().replace(".", "").split()
    good = sum(word in {"school", "garden", "bridge", "clinic", "library", "harvest"} for word in words)
    bad = sum(word in {"fire", "theft", "crash", "strike"} for word in words)
    near = sum(word in {"town", "market", "street"} for word in words)
    return min(10.0, max(0.0, 5.0 + good - bad)), min(10.0, 2.0 * near)


def test_a_student_that_learned_the_words_orders_the_ramps(bundle, probes):
    found = prepare(bundle, probes=probes).carry_out()
    student = found.subjects["student"]
    assert student.name == "tfidf-ridge"
    assert student.bundle_sha256 == Scorer.load(bundle).bundle.hash
    assert student.checks["ramps"].overall.passed == 4
    assert student.checks["negation"].overall.passed == 1
    assert (found.rise, found.shift) == (0.1, 0.5)
    assert found.met is None


def test_a_constant_student_fails_every_ramp_and_every_negation(probes):
    student = fit_constant(load_recipe("constant"), examples())
    calibration = no_calibration(FILTER.dimension_names, low=0, high=10)
    scorer = Scorer(Bundle.in_memory(FILTER, student, calibration, "constant"))
    found = prepare(scorer, probes=probes).carry_out(least=["ramps=0.1", "case=1"])
    checks = found.subjects["student"].checks
    assert checks["ramps"].overall.passed == checks["negation"].overall.passed == 0
    assert checks["ramps"].overall.flat == checks["ramps"].overall.compared == 4
    assert all(check.overall.rate == 1 for name, check in checks.items() if name not in {"ramps", "negation"})
    assert [(target.check, target.met) for target in found.targets] == [("ramps", False), ("case", True)]
    assert found.met is False
    assert {finding.rule for finding in found.findings} == {"ramps-by-chance", "scores-stay"}


def test_student_and_oracle_are_tested_on_the_same_texts_and_compared(bundle, probes, tmp_path):
    check = prepare(bundle, probes=probes, folder=tmp_path / "out")
    found = check.carry_out(recorded(check, tmp_path / "answers.jsonl", by_words))
    student, oracle = found.subjects["student"], found.subjects["oracle"]
    assert oracle.checks["ramps"].overall.rate == 1
    assert found.relative.overall == student.checks["ramps"].overall.rate
    assert list(student.checks) == list(oracle.checks)
    assert oracle.asked.bought == oracle.asked.texts == check.questions.height
    assert ProbeRecord.from_file(tmp_path / "out" / "probe.json") == found


def test_answers_are_bought_once_and_a_limit_leaves_the_rest_for_later(bundle, probes, tmp_path):
    def again(limits=None):
        check = prepare(bundle, probes=probes, folder=tmp_path / "out")
        return check.carry_out(recorded(check, tmp_path / "answers.jsonl", by_words), limits=limits)

    from potstill.labelling import Limits

    part = again(Limits(max_calls=10)).subjects["oracle"]
    assert (part.asked.bought, part.asked.already) == (10, 0)
    assert part.asked.stopped
    assert part.checks["praise"].overall.unscored > 0
    whole = again().subjects["oracle"]
    assert whole.asked.already == 10
    assert again().subjects["oracle"].asked.bought == 0
    assert whole.checks["praise"].overall.unscored == 0


def test_an_oracle_is_tested_without_a_student(probes, tmp_path):
    check = prepare(FILTER, probes=probes, ledger=tmp_path / "ledger.sqlite")
    found = check.carry_out(recorded(check, tmp_path / "answers.jsonl", by_words), least=["ramps=1"])
    assert list(found.subjects) == ["oracle"]
    assert found.met is True
    assert found.relative is None


def test_a_filter_alone_scores_nothing(probes):
    with pytest.raises(BadInput, match="name a bundle or a run, or an oracle with --oracle"):
        prepare(FILTER, probes=probes).carry_out()


def test_an_oracle_that_answers_nothing_is_an_error(probes, tmp_path):
    check = prepare(FILTER, probes=probes, ledger=tmp_path / "ledger.sqlite")
    (tmp_path / "none.jsonl").write_text('{"id": "other", "scores": {"gain": 1, "near": 1}}\n')
    with pytest.raises(LabelError, match="has only 0 answers for sha-"):
        check.carry_out(open_oracle(f"replay:{tmp_path / 'none.jsonl'}"))


def test_a_refused_key_stops_and_keeps_the_answers(bundle, probes, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-key")
    refusal = (401, {"error": {"message": "Incorrect API key provided."}})
    with ScriptedServer([refusal] * 50) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        check = prepare(bundle, probes=probes, folder=tmp_path / "out")
        with pytest.raises(OracleError, match="all answers so far are kept, and the same command goes on"):
            check.carry_out(open_oracle("openai:small"))


def test_articles_of_a_file_are_changed_with_their_sources(bundle, probes, tmp_path):
    rows = [{"title": f"Story {n}", "content": "A garden.", "source": f"paper {n}"} for n in range(3)]
    (tmp_path / "news.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    check = prepare(bundle, probes=probes, articles=tmp_path / "news.jsonl", number=2)
    found = check.carry_out()
    assert (found.texts.articles, found.texts.articles_from) == (2, str(tmp_path / "news.jsonl"))
    assert found.subjects["student"].checks["padding"].dimensions["gain"].compared == 2
    assert {"paper 0", "paper 1", "paper 2"} > set(check.texts["source"].drop_nulls()) != set()


def test_a_file_without_texts_is_refused(bundle, probes, tmp_path):
    (tmp_path / "news.jsonl").write_text('{"title": "", "content": " "}\n')
    with pytest.raises(BadInput, match=r"news\.jsonl: there are no texts to change"):
        prepare(bundle, probes=probes, articles=tmp_path / "news.jsonl")


def test_a_text_that_the_prefilter_drops_has_no_score(bundle, tmp_path):
    path = tmp_path / "probes.yaml"
    path.write_text("ramps: {gain: [[Run git clone now., A garden., A garden and a school.]]}")
    one = prepare(bundle, probes=path).carry_out().subjects["student"].checks["ramps"].overall
    assert (one.compared, one.unscored) == (1, 1)


class TestWhereTestsAreFrom:
    def test_without_any_the_error_names_the_file_and_the_option(self, bundle):
        with pytest.raises(FilterError, match=r"no behaviour tests: good-news is no built-in filter; .* --probes"):
            prepare(bundle)

    def test_a_run_without_any_names_the_place_in_the_run(self, built_run):
        with pytest.raises(FilterError, match=r"no behaviour tests: there is no .*filter/probes\.yaml"):
            prepare(built_run.folder)

    def test_tests_of_another_dimension_are_refused(self, bundle, tmp_path):
        (tmp_path / "probes.yaml").write_text("ramps: {joy: [[a, b]]}")
        with pytest.raises(FilterError, match="ramps -> joy: not a dimension of good-news; its dimensions: gain, near"):
            prepare(bundle, probes=tmp_path / "probes.yaml")
        with pytest.raises(FilterError, match="ramps -> joy: not a dimension of good-news"):
            ps.probe(Scorer.load(bundle), probes=ps.Probes(ramps={"joy": (("a", "b"),)}))

    def test_a_built_in_filter_has_its_own(self):
        found = prepare("front-page")
        assert found.about.probes == "front-page/probes.yaml"
        assert (found.about.ramps, found.about.articles, found.about.articles_from) == (24, 50, "ramps")

    def test_a_filters_folder_has_its_own(self, tmp_path):
        save_filter(FILTER, tmp_path)
        (tmp_path / "probes.yaml").write_text(PROBES)
        assert prepare(tmp_path).about.ramps == 2

    def test_tests_are_copied_into_a_run_with_its_filter(self, built_run, tmp_path):
        save_filter(RUN_FILTER, tmp_path)
        assert carry_probes(tmp_path, built_run.folder) is None
        (tmp_path / "probes.yaml").write_text(PROBES)
        assert carry_probes("front-page", built_run.folder) is None
        target = carry_probes(tmp_path / "filter.yaml", built_run.folder)
        assert target.read_text() == PROBES
        assert carry_probes(tmp_path, built_run.folder) is None
        target.unlink()
        (tmp_path / "probes.yaml").write_text("ramps: {joy: [[a, b]]}")
        with pytest.raises(FilterError, match="not a dimension"):
            carry_probes(tmp_path, built_run.folder)


class TestStage:
    def state(self, run):
        return next(one.state for one in Run.open(run.folder).status() if one.stage == "probe")

    def test_the_tests_of_a_run_are_its_stage_and_use_its_test_part(self, built_run, probes):
        assert self.state(built_run) == "missing"
        before = built_run.filter.content_hash
        found = prepare(built_run.folder, probes=probes, number=5).carry_out()
        assert self.state(built_run) == "done"
        assert built_run.path("probes").read_text() == PROBES
        assert (found.texts.articles_from, found.texts.articles) == ("test part", 5)
        assert ProbeRecord.from_file(built_run.path("probe_record")) == found
        assert Run.open(built_run.folder).filter.content_hash == before

    def test_the_copy_of_the_tests_is_used_again_and_a_change_makes_the_stage_stale(self, built_run, probes):
        prepare(built_run.folder, probes=probes, number=5).carry_out()
        again = prepare(built_run.folder, number=5).carry_out()
        assert again.texts.probes == str(built_run.path("probes"))
        built_run.path("probes").write_text(PROBES.replace("In the town a garden", "There is a garden in the town"))
        assert self.state(built_run) == "stale"

    def test_the_bundle_of_a_run_is_the_run(self, built_run, probes):
        check = prepare(built_run.path("bundle"), probes=probes)
        assert check.run is not None
        assert check.folder == built_run.path("probe")

    def test_the_command_of_the_stage_makes_the_same_tests_again(self, built_run, probes, tmp_path):
        news = tmp_path / "my news.jsonl"
        news.write_text('{"content": "A School in town."}\n')
        check = prepare(built_run.folder, probes=probes, number=5, articles=news)
        check.carry_out(recorded(check, tmp_path / "answers.jsonl", by_words))
        run = Run.open(built_run.folder)
        command = next(one.command for one in run.status() if one.stage == "probe")
        assert command == f"potstill probe {run.folder} --oracle replay:answers --articles '{news}' -n 5"

    def test_another_folder_leaves_the_run_as_it_is(self, built_run, probes, tmp_path):
        prepare(built_run.folder, probes=probes, number=5).carry_out()
        before = built_run.path("probe_record").read_bytes()
        prepare(built_run.folder, number=3, folder=tmp_path / "own").carry_out()
        assert (tmp_path / "own" / "probe.json").is_file()
        assert built_run.path("probe_record").read_bytes() == before


class TestInPython:
    def test_a_scorer_is_tested_in_memory_with_articles_of_a_table(self, bundle, probes):
        articles = [{"title": "News", "text": "A School in town."}, {"title": "", "text": "A Fire at sea."}]
        found = ps.probe(ps.Scorer.load(bundle), probes=probes, articles=articles, least=["0"])
        assert (found.texts.articles, found.texts.articles_from) == (2, "a table")
        assert found.met is True
        table = found.subjects["student"].to_frame()
        assert table.filter(check="ramps", dimension="all")["passed"].item() == 4

    def test_a_student_that_was_just_fitted_has_no_folder(self, probes):
        student = ps.Student("constant")
        rows = dataclasses.replace(examples())
        student.fit(ps.Rows(FILTER, rows))
        found = ps.probe(ps.Scorer(FILTER, student), probes=probes)
        assert found.subjects["student"].name == "constant"
        assert found.subjects["student"].bundle_sha256 is None

    def test_tests_can_be_written_in_code(self, bundle):
        tests = ps.Probes(ramps={"gain": (("Fire theft.", "School garden."),)})
        found = ps.probe(bundle, probes=tests)
        assert found.texts.probes == "in memory"
        assert found.subjects["student"].checks["ramps"].overall.compared == 1


def test_each_text_has_the_id_of_its_content(bundle, probes):
    check = prepare(bundle, probes=probes)
    assert check.texts["id"].to_list() == [article_id("", content) for content in check.texts["content"]]
    assert np.unique(check.questions["id"].to_numpy()).size == check.questions.height


def test_the_built_in_filters_can_be_planned_without_a_key():
    assert all(prepare(load_filter(name), keeps=False).questions.height > 300 for name in ("uplifting", "front-page"))

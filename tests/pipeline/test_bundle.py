import json
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from tiny_bundle import FILTER, examples
from tiny_run import started

from potstill.bundle import load_bundle, verify_bundle
from potstill.dataset import Dataset
from potstill.errors import BundleError, MissingModel, NoSkill, RunError
from potstill.files import read_json
from potstill.pipeline.bundle import Candidate, build_bundle, choose, read_candidates, shipped_choice
from potstill.pipeline.run import Run
from potstill.pipeline.train import train_run
from potstill.students.recipes import load_recipe
from potstill.students.storage import load_student


@pytest.fixture(scope="module")
def cheap(tmp_path_factory):
    run = started(tmp_path_factory.mktemp("cheap"))
    train_run(run, ["constant", "source-median", "tfidf-ridge"])
    return run


@pytest.fixture(scope="module")
def neural(tmp_path_factory):
    run = started(tmp_path_factory.mktemp("neural"))
    short = load_recipe("minilm-lora").model_copy(update={"epochs": 1})
    (run.folder / "minilm-lora.yaml").write_text(json.dumps(short.model_dump(mode="json", exclude_none=True)))
    train_run(run, ["minilm-ridge", run.folder / "minilm-lora.yaml"], tiny=True, crossfit=2)
    return run


class TestARunsBundle:
    def test_it_is_the_student_that_validation_prefers_and_says_by_how_much(self, cheap):
        bundle = build_bundle(cheap)
        choice = bundle.facts.choice
        assert bundle.manifest.recipe == choice.rung == "tfidf-ridge"
        assert choice.runner_up == "constant"
        assert choice.margin == pytest.approx(
            choice.validation_mae["constant"] - choice.validation_mae["tfidf-ridge"], abs=1e-5
        )
        assert choice.margin_interval.low <= choice.margin <= choice.margin_interval.high

    def test_the_source_median_is_never_a_candidate(self, cheap):
        dataset = Dataset.load(cheap.path("rows"), FILTER.dimension_names)
        assert [candidate.name for candidate in read_candidates(cheap, dataset)] == ["constant", "tfidf-ridge"]
        with pytest.raises(RunError, match="'source-median' is not among those that can be shipped"):
            build_bundle(cheap, "source-median")

    def test_another_student_can_be_asked_for_by_name(self, cheap):
        bundle = build_bundle(cheap, "constant")
        assert bundle.manifest.student == "constant"
        assert bundle.facts.choice.margin < 0
        assert "requested by name" in bundle.facts.choice.reason

    def test_the_stage_is_recorded_with_the_choice_and_stands_as_done(self, cheap):
        bundle = build_bundle(cheap)
        record = Run.open(cheap.folder).manifest.stages["bundle"]
        assert record.parameters["sha256"] == bundle.hash
        assert record.parameters["choice"]["rung"] == "tfidf-ridge"
        assert record.outputs["bundle"] == cheap.fingerprint("bundle")

    def test_building_again_gives_the_same_bundle(self, cheap):
        assert build_bundle(cheap).hash == build_bundle(cheap).hash

    def test_without_a_calibration_part_it_is_calibrated_on_rows_that_their_models_had_not_seen(self, cheap):
        calibration = build_bundle(cheap).calibration
        assert "had not seen" in calibration.origin
        assert {curve.n for curve in calibration.curves} == {80}

    def test_a_calibration_part_is_used_where_there_is_one(self, tmp_path):
        run = started(tmp_path / "run", calibration=True)
        train_run(run, ["tfidf-ridge"])
        calibration = build_bundle(run).calibration
        assert calibration.origin == "the calibration part"
        assert {curve.n for curve in calibration.curves} == {20}

    def test_students_of_other_rows_are_refused(self, tmp_path):
        run = started(tmp_path / "run")
        train_run(run, ["constant"])
        dataset = Dataset.load(run.path("rows"), FILTER.dimension_names)
        Dataset(dataset.frame.with_columns(pl.col("id") + "x"), dataset.dimensions).save(run.path("rows"))
        with pytest.raises(RunError, match="trained on other rows"):
            build_bundle(run)

    def test_a_run_without_students_says_what_to_do(self, tmp_path):
        with pytest.raises(RunError, match="potstill train"):
            build_bundle(started(tmp_path / "run"))

    def test_no_word_of_an_article_that_only_one_has_is_in_the_golden_texts(self, cheap):
        lists = [row.content for row in build_bundle(cheap).golden if row.id.startswith("words-")]
        assert len(lists) == 6
        assert not any(word.isdigit() for text in lists for word in text.split())


class TestNeuralStudents:
    @pytest.mark.parametrize("name", ["minilm-ridge", "minilm-lora"])
    def test_a_network_comes_along_whole_and_gives_the_trainers_scores(self, neural, name):
        bundle = build_bundle(neural, name)
        assert bundle.manifest.kind == "self-contained"
        assert (bundle.folder / "model.onnx").is_file()
        trainers = load_student(neural.path("students") / name)
        frame = examples(50, seed=4).frame
        np.testing.assert_allclose(bundle.student.predict(frame), trainers.predict(frame), atol=1e-3)
        assert bundle.facts.exports[0].fused

    def test_a_frozen_network_is_exported_once_and_its_graph_is_taken_from_the_older_bundle(self, neural, monkeypatch):
        first = build_bundle(neural, "minilm-ridge")
        graph = (first.folder / "model.onnx").read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr("torch.onnx.export", None)
            again = build_bundle(neural, "minilm-ridge")
        assert (again.folder / "model.onnx").read_bytes() == graph
        assert again.facts.exports[0].fused

    def test_a_graph_that_was_changed_is_not_taken(self, neural, monkeypatch):
        bundle = build_bundle(neural, "minilm-ridge").folder
        content = bytearray((bundle / "model.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        (bundle / "model.onnx").write_bytes(content)
        exported = []
        export = torch.onnx.export
        monkeypatch.setattr("torch.onnx.export", lambda *a, **k: exported.append(1) or export(*a, **k))
        build_bundle(neural, "minilm-ridge")
        assert exported == [1]
        verify_bundle(bundle)

    def test_joined_encoders_have_numbered_files(self, tmp_path):
        run = started(tmp_path / "run")
        (tmp_path / "two.yaml").write_text(
            "{name: two, student: encoder-head, backbones: [all-MiniLM-L6-v2, all-MiniLM-L6-v2], head: {kind: ridge}}"
        )
        train_run(run, [tmp_path / "two.yaml"], tiny=True, crossfit=0)
        bundle = build_bundle(run)
        names = {path.name for path in bundle.folder.iterdir()}
        assert {"model.onnx", "model-1.onnx", "tokenizer.json", "tokenizer-1.json"} <= names
        assert verify_bundle(bundle.folder).files == 13


@pytest.fixture(scope="module")
def adapted(neural, tmp_path_factory):
    bundle = build_bundle(neural, "minilm-lora", kind="adapter")
    return load_bundle(shutil.copytree(bundle.folder, tmp_path_factory.mktemp("adapted") / "bundle"))


class TestAnAdapterBundle:
    def test_it_holds_the_adapter_and_the_head_and_pins_the_base(self, adapted, neural):
        names = {path.name for path in adapted.folder.iterdir()}
        assert {"adapter.safetensors", "adapter.json"} <= names
        assert not {"model.onnx", "tokenizer.json"} & names
        backbones = adapted.facts.student.backbones
        assert adapted.manifest.encoders[0].backbone_sha256 == next(iter(backbones.values()))

    def test_it_gives_the_trainers_scores(self, adapted, neural):
        trainers = load_student(neural.path("students") / "minilm-lora")
        frame = examples(50, seed=4).frame
        np.testing.assert_allclose(
            load_bundle(adapted.folder).student.predict(frame), trainers.predict(frame), atol=1e-4
        )

    def test_another_base_is_refused(self, adapted, neural):
        folder = neural.path("cache") / "training" / "minilm-lora" / "backbone"
        whole = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        try:
            with pytest.raises(BundleError, match="SHA-256"):
                load_bundle(adapted.folder)
        finally:
            (folder / "model.safetensors").write_bytes(whole)

    def test_a_base_that_is_gone_is_named(self, adapted, neural):
        folder = neural.path("cache") / "training" / "minilm-lora" / "backbone"
        away = folder.rename(folder.with_name("away"))
        try:
            with pytest.raises(MissingModel, match="backbone"):
                load_bundle(adapted.folder)
        finally:
            away.rename(folder)

    @pytest.mark.parametrize("name", ["adapter.safetensors", "adapter.json"])
    def test_one_flipped_byte_is_found(self, adapted, name):
        path = adapted.folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 4]) + whole[-2:])
        try:
            with pytest.raises(BundleError, match=name):
                load_bundle(adapted.folder)
        finally:
            path.write_bytes(whole)

    def test_a_student_without_an_adapter_cannot_be_one(self, neural, cheap):
        with pytest.raises(BundleError, match="LoRA adapter"):
            build_bundle(neural, "minilm-ridge", kind="adapter")
        with pytest.raises(BundleError, match="has no adapter"):
            build_bundle(cheap, kind="adapter")


def candidate(name, predicted, student="tfidf-ridge"):
    class Record:
        recipe = {"student": student}  # noqa: RUF012 - a stand-in

    return Candidate(name, None, Record(), predicted)


class TestTheChoice:
    def test_predictions_are_clipped_to_the_scale_before_they_are_compared(self):
        truth = examples(30)
        wild = np.where(truth.scores > 5, 40.0, truth.scores)
        choice = choose([candidate("wild", wild), candidate("off", truth.scores + 3)], truth, FILTER)
        assert choice.validation_mae["wild"] < 5

    def test_a_masked_label_counts_for_nobody(self):
        truth = examples(30)
        truth.scores[:10, 0] = np.nan
        far = truth.scores + 1
        far[:10] = 10
        choice = choose([candidate("far", far)], truth, FILTER)
        assert np.isfinite(choice.validation_mae["far"])

    def test_the_constant_is_left_to_the_test_of_skill_and_not_selected_on_validation(self):
        truth = examples(30)
        constant, ridge = candidate("constant", truth.scores, "constant"), candidate("ridge", truth.scores + 1)
        choice = choose([constant, ridge], truth, FILTER)
        assert (choice.rung, choice.runner_up) == ("ridge", "constant")
        assert choice.margin < 0
        assert choose([constant], truth, FILTER).rung == "constant"
        assert choose([constant, ridge], truth, FILTER, wanted="constant").rung == "constant"

    def test_a_lone_student_is_chosen_without_a_margin(self):
        truth = examples(10)
        choice = choose([candidate("ridge", truth.scores + 1)], truth, FILTER)
        assert (choice.runner_up, choice.margin, choice.margin_interval) == (None, None, None)
        assert choice.validation_mae == {"ridge": pytest.approx(1, abs=0.2)}

    def test_the_record_of_a_choice_is_json(self):
        truth = examples(10)
        choice = choose([candidate("a", truth.scores + 1), candidate("b", truth.scores + 2)], truth, FILTER)
        assert json.loads(json.dumps(choice.model_dump(mode="json")))["runner_up"] == "b"


def test_facts_and_manifest_hold_no_time_of_day(cheap):
    """A bundle depends only on its inputs."""
    bundle = build_bundle(cheap)
    assert "started" not in json.dumps(read_json(bundle.folder / "bundle.json"))
    assert "created" not in bundle.facts.choice.model_dump_json()


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Return a run whose labels have nothing to do with the texts."""
    run = started(tmp_path_factory.mktemp("noise"))
    dataset = Dataset.load(run.path("rows"), FILTER.dimension_names)
    shuffled = np.random.default_rng(5).permutation(dataset.frame.height)
    labels = [dataset.frame[f"y_{name}"][shuffled].alias(f"y_{name}") for name in dataset.dimensions]
    Dataset(dataset.frame.with_columns(labels), dataset.dimensions).save(run.path("rows"))
    train_run(run, ["constant", "tfidf-ridge"])
    return run


class TestTheSkillOfWhatIsShipped:
    def test_it_is_measured_on_rows_that_selected_nothing_and_recorded_in_the_bundle_and_the_run(self, cheap):
        skill = build_bundle(cheap).facts.choice.skill
        assert skill.shown
        assert skill.rows == 80
        assert "had not seen" in skill.origin
        assert skill.interval.low > 0.2
        assert (skill.labels, skill.caution) == (None, None)
        assert shipped_choice(Run.open(cheap.folder)).skill == skill

    def test_with_a_calibration_part_it_is_measured_there(self, tmp_path):
        run = started(tmp_path / "run", calibration=True)
        train_run(run, ["tfidf-ridge"])
        skill = build_bundle(run).skill
        assert (skill.rows, skill.origin) == (20, "the calibration part")
        assert skill.shown

    def test_a_student_of_noise_is_refused_and_the_earlier_bundle_is_kept(self, noise):
        earlier = build_bundle(noise, "constant").hash
        message = (
            r"tfidf-ridge is not shown to be better than the constant.*skill .* on 80 held-out rows; no number of "
            r"labels is in sight \(the predictions are unrelated to the labels; now 120\).*--anyway"
        )
        with pytest.raises(NoSkill, match=message) as refused:
            build_bundle(noise)
        assert refused.value.exit_code == 1
        assert load_bundle(noise.path("bundle")).hash == earlier

    def test_anyway_ships_it_and_the_bundle_and_the_command_that_makes_it_again_say_so(self, noise):
        bundle = build_bundle(noise, anyway=True)
        assert bundle.manifest.recipe == "tfidf-ridge"
        assert bundle.caution.startswith("shipped with --anyway, not shown to be better than the constant: skill ")
        assert verify_bundle(bundle.folder).caution == bundle.caution
        run = Run.open(noise.folder)
        assert next(stage.command for stage in run.status() if stage.stage == "bundle").endswith("--anyway")

    def test_a_constant_asked_for_by_name_claims_nothing_and_is_shipped(self, noise):
        bundle = build_bundle(noise, "constant")
        assert not bundle.skill.shown
        assert bundle.caution == "the student is the constant baseline: its scores do not depend on the text"

    def test_a_constant_that_is_the_only_student_is_shipped(self, tmp_path):
        run = started(tmp_path / "run")
        train_run(run, ["constant"])
        assert build_bundle(run).skill.baseline

    def test_a_student_with_tiny_stand_ins_is_shipped_to_test_the_pipeline(self, neural):
        bundle = build_bundle(neural, "minilm-ridge")
        assert bundle.skill is not None
        assert bundle.skill.shown or bundle.caution

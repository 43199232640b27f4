"""Tests that a fine-tuned student scores the same in a bundle as in training, whatever its objective and input."""

import json

import numpy as np
import pytest
import torch
from tiny_bundle import examples
from tiny_run import started
from tokenizers import Tokenizer

from potstill.backends.plan import Variant, open_variant
from potstill.bundle import build_bundle, load_bundle
from potstill.errors import BundleError, RecipeError
from potstill.students.storage import load_student
from potstill.students.tokens import TextReader
from potstill.students.torch import model as model_module
from potstill.students.torch.model import ScoreModel
from potstill.students.torch.pooling import states
from potstill.training import train_run

FRAME = examples(30, seed=4).frame

QUICK = {
    "name": "quick",
    "student": "fine-tuned",
    "max_tokens": 64,
    "epochs": 1,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "head_learning_rate": 3e-2,
}


def bundled(folder, kind=None, **changes):
    """Return the student of a run as its folder stores it, and as its bundle does."""
    run = started(folder)
    recipe = folder / "quick.yaml"
    recipe.write_text(json.dumps(QUICK | changes))
    train_run(run, [recipe], tiny=True)
    bundle = build_bundle(run, kind=kind)
    return load_student(run.path("students") / "quick"), load_bundle(bundle.folder, check="all")


@pytest.mark.parametrize("objective", ["corn", "ordinal", "distribution"])
@pytest.mark.parametrize("decode", ["median", "mean"])
@pytest.mark.by_example(3)
def test_a_distribution_head(tmp_path, objective, decode):
    trainers, bundle = bundled(tmp_path, objective=objective, decode=decode)

    said = bundle.student.predict(FRAME)

    np.testing.assert_allclose(said, trainers.predict(FRAME), atol=1e-3)
    assert said.std() > 0.01
    assert bundle.student.head.kind == f"{objective}-{decode}"


LORA = {"rank": 2, "alpha": 4, "targets": ["query", "dense"]}


class TestWhatPoolingLearned:
    @pytest.mark.parametrize(
        ("kind", "changes"),
        [
            (None, {"freeze_backbone": True, "layers": [-1, -2], "epochs": 3}),
            (None, {"lora": LORA}),
            ("adapter", {"lora": LORA, "layers": [1, 2]}),
            (None, {"layers": [1]}),
        ],
        ids=["frozen", "lora", "adapter", "full"],
    )
    @pytest.mark.by_example(2)
    def test_comes_along(self, tmp_path, kind, changes):
        trainers, bundle = bundled(tmp_path, kind, pooling="attention", queries=2, **changes)

        learned = trainers.encoder.learned

        assert learned.queries.abs().max() > 0.01
        np.testing.assert_allclose(bundle.student.predict(FRAME), trainers.predict(FRAME), atol=2e-4)
        trainers.encoder.learned = type(learned).of(trainers.encoder.facts)
        # Without the learned pooling, the scores would differ.
        assert np.abs(bundle.student.predict(FRAME) - trainers.predict(FRAME)).max() > 2e-3

    def test_a_frozen_backbone_is_read_once_and_not_saved(self, tmp_path, monkeypatch):
        read = ScoreModel.remember
        ran = []
        monkeypatch.setattr(ScoreModel, "remember", lambda model, batches: ran.append(0) or read(model, batches))
        monkeypatch.setattr(model_module, "states", lambda *given: ran.append(1) or states(*given))
        trainers, _ = bundled(tmp_path, pooling="attention", freeze_backbone=True, epochs=3)
        # Neither a step nor an evaluation ran the backbone again.
        assert 0 < sum(ran) == ran.count(0)
        encoder = tmp_path / "students" / "quick" / "encoder"
        assert sorted(path.name for path in encoder.iterdir()) == ["encoder.json", "pooling.safetensors"]
        assert not trainers.encoder.trained

    def test_runs_on_openvino_too(self, tmp_path):
        pytest.importorskip("openvino")
        trainers, bundle = bundled(tmp_path, pooling="attention", freeze_backbone=True, layers=[-1, -2])
        files = bundle.folder / "model.onnx", bundle.folder / "tokenizer.json"
        encoder = open_variant(Variant(backend="openvino"), *files, bundle.manifest.encoders[0])
        texts = FRAME["text"].to_list()
        np.testing.assert_allclose(encoder.encode(texts), trainers.encoder.encode(texts), atol=1e-3)


def test_head_and_tail_of_long_texts(tmp_path):
    trainers, bundle = bundled(tmp_path, window="head-tail")

    assert bundle.student.encoder.facts.window == trainers.encoder.facts.window == "head-tail"
    np.testing.assert_allclose(bundle.student.predict(FRAME), trainers.predict(FRAME), atol=2e-4)
    other = bundle.student.encoder.facts.model_copy(update={"window": "head"})
    bundle.student.encoder._reader = TextReader(Tokenizer.from_file(str(bundle.folder / "tokenizer.json")), other)
    with pytest.raises(BundleError, match="golden text library: raw"):
        bundle.prove(short=False)


class TestDecoders:
    @pytest.mark.parametrize("backbone", ["Qwen2.5-0.5B", "gemma-3-1b"])
    @pytest.mark.parametrize("bidirectional", [False, True])
    @pytest.mark.by_example(2)
    def test_attend_in_a_bundle_as_they_did_in_training(self, tmp_path, backbone, bidirectional):
        lora = {"rank": 2, "alpha": 4, "targets": ["q_proj", "up_proj"]}
        changes = {"backbone": backbone, "lora": lora, "pooling": "mean", "bidirectional": bidirectional}
        trainers, bundle = bundled(tmp_path, precision="bf16", **changes)

        np.testing.assert_allclose(bundle.student.predict(FRAME), trainers.predict(FRAME), atol=2e-4)
        assert reads_ahead(trainers.encoder) == bidirectional

    def test_all_weights_may_train(self, tmp_path):
        trainers, bundle = bundled(tmp_path, backbone="Qwen2.5-0.5B", bidirectional=True)

        np.testing.assert_allclose(bundle.student.predict(FRAME), trainers.predict(FRAME), atol=2e-4)
        assert reads_ahead(trainers.encoder)

    def test_an_encoder_cannot_be_made_to_attend_both_ways(self, tmp_path):
        with pytest.raises(RecipeError, match="is no decoder, its tokens attend both ways; leave it out"):
            bundled(tmp_path, bidirectional=True)


def reads_ahead(encoder):
    """Return whether the first token's state depends on the last token, with padding and without."""
    ids = torch.tensor([[10, 20, 30, 40], [10, 20, 30, 50]])
    whole = torch.ones_like(ids)
    alone = states(encoder.model, ids, whole)[0][:, 0]
    padded = torch.nn.functional.pad(ids, (0, 2))
    beside = states(encoder.model, padded, torch.nn.functional.pad(whole, (0, 2)))[0][:, 0]
    torch.testing.assert_close(alone, beside, atol=1e-5, rtol=1e-4)
    return bool((alone[0] - alone[1]).abs().max() > 1e-3)

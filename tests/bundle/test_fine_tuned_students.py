"""Tests that a fine-tuned student scores the same in a bundle as in training, whatever its objective and input."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_bundle import examples
from tiny_run import started
from tokenizers import Tokenizer

from potstill.backends.plan import Variant, open_variant
from potstill.bundle import load_bundle
from potstill.errors import BundleError
from potstill.pipeline.bundle import build_bundle
from potstill.pipeline.train import train_run
from potstill.students.storage import load_student, save_student
from potstill.students.tokens import TextReader
from potstill.students.torch.adapted import AdaptedEncoder
from potstill.students.torch.encoder import TorchEncoder
from potstill.students.torch.pooling import Learned, states

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


def trained(folder, **changes):
    """Return a run with a student named `quick`."""
    run = started(folder)
    recipe = folder / "quick.yaml"
    recipe.write_text(json.dumps(QUICK | changes))
    train_run(run, [recipe], tiny=True)
    return run


def bundled(folder, kind=None, **changes):
    """Return the student of a run as its folder stores it, and as its bundle does."""
    run = trained(folder, **changes)
    bundle = build_bundle(run, kind=kind)
    return load_student(run.path("students") / "quick"), load_bundle(bundle.folder, check="all")


@pytest.mark.parametrize("objective", ["corn", "distribution"])
@pytest.mark.parametrize("decode", ["median", "mean"])
@pytest.mark.by_example(2)
def test_a_distribution_head(tmp_path, objective, decode):
    trainers, bundle = bundled(tmp_path, objective=objective, decode=decode)

    said = bundle.student.predict(FRAME)

    np.testing.assert_allclose(said, trainers.predict(FRAME), atol=1e-3)
    assert said.std() > 0.01
    assert bundle.student.head.kind == f"{objective}-{decode}"


LORA = {"rank": 2, "alpha": 4, "targets": ["query", "dense"]}


class TestEncodersOfEarlierVersions:
    """Options that recipes no longer have; students that were trained with them score as before."""

    @pytest.mark.parametrize("lora", [False, True])
    def test_pooling_and_a_mix_of_layers_that_were_learned(self, tmp_path, lora):
        run = trained(tmp_path, **({"lora": LORA} if lora else {}))
        _, bundle = rebundled(run, with_learned_pooling, kind="adapter" if lora else None)
        trainers = load_student(run.path("students") / "quick")

        np.testing.assert_allclose(bundle.student.predict(FRAME), trainers.predict(FRAME), atol=1e-3)
        learned = trainers.encoder.learned
        assert learned.queries.shape == (2, 32)
        trainers.encoder.learned = type(learned).of(trainers.encoder.facts)
        # Without the learned pooling, the scores would differ.
        assert np.abs(bundle.student.predict(FRAME) - trainers.predict(FRAME)).max() > 2e-3

    def test_learned_pooling_on_openvino(self, tmp_path):
        pytest.importorskip("openvino")
        trainers, bundle = rebundled(trained(tmp_path), with_learned_pooling)
        files = bundle.folder / "model.onnx", bundle.folder / "tokenizer.json"
        encoder = open_variant(Variant(backend="openvino"), *files, bundle.manifest.encoders[0])
        texts = FRAME["text"].to_list()
        np.testing.assert_allclose(encoder.encode(texts), trainers.encoder.encode(texts), atol=1e-3)

    def test_head_and_tail_of_long_texts(self, tmp_path):
        trainers, bundle = rebundled(trained(tmp_path), with_facts(window="head-tail"))

        assert bundle.student.encoder.facts.window == trainers.encoder.facts.window == "head-tail"
        np.testing.assert_allclose(bundle.student.predict(FRAME), trainers.predict(FRAME), atol=2e-4)
        other = bundle.student.encoder.facts.model_copy(update={"window": "head"})
        bundle.student.encoder._reader = TextReader(Tokenizer.from_file(str(bundle.folder / "tokenizer.json")), other)
        with pytest.raises(BundleError, match="golden text library: raw"):
            bundle.prove(short=False)

    def test_a_decoder_whose_tokens_attend_both_ways(self, tmp_path):
        trainers, bundle = rebundled(trained(tmp_path, backbone="Qwen2.5-0.5B"), with_facts(bidirectional=True))

        np.testing.assert_allclose(bundle.student.predict(FRAME), trainers.predict(FRAME), atol=2e-4)
        assert reads_ahead(trainers.encoder)

    def test_an_encoder_cannot_be_made_to_attend_both_ways(self, tmp_path):
        with pytest.raises(BundleError, match=r"bidirectional: true is for decoders, and .* is not one"):
            rebundled(trained(tmp_path), with_facts(bidirectional=True))


def rebundled(run, change, kind=None):
    """Change the student of a run to one that an earlier version trained, and build its bundle."""
    folder = run.path("students") / "quick"
    student = change(load_student(folder))
    shutil.rmtree(folder / "encoder")
    save_student(student, folder)
    bundle = build_bundle(run, kind=kind)
    return load_student(folder), load_bundle(bundle.folder, check="all")


def with_facts(**changes):
    def change(student):
        student.encoder.facts = student.encoder.facts.model_copy(update=changes)
        return student

    return change


def with_learned_pooling(student):
    """Return the student with two queries, a mix of both layers, and a head for their features."""
    old = student.encoder
    facts = old.facts.model_copy(
        update={"pooling": "attention", "queries": 2, "layers": (1, 2), "mixed": True, "width": 2 * old.width}
    )
    learned = Learned.of(facts)
    torch.manual_seed(3)
    for parameter in learned.parameters():
        torch.nn.init.normal_(parameter)
    head = replace(student.head, weights=np.vstack([student.head.weights, -0.5 * student.head.weights]))
    if isinstance(old, AdaptedEncoder):
        pooling = {f"base_model.model.learned.{name}": tensor for name, tensor in learned.state_dict().items()}
        encoder = AdaptedEncoder(
            old.model, old.tokenizer, facts, lora=old.lora, adapter={**old.adapter, **pooling}, learned=learned
        )
    else:
        encoder = TorchEncoder(old.model, old.tokenizer, facts, trained=True, learned=learned)
    return replace(student, encoder=encoder, head=head)


class TestDecoders:
    @pytest.mark.parametrize("backbone", ["Qwen2.5-0.5B", "gemma-3-1b"])
    def test_attend_in_a_bundle_as_they_did_in_training(self, tmp_path, backbone):
        lora = {"rank": 2, "alpha": 4, "targets": ["q_proj", "up_proj"]}
        changes = {"backbone": backbone, "lora": lora, "pooling": "mean"}
        trainers, bundle = bundled(tmp_path, precision="bf16", **changes)

        np.testing.assert_allclose(bundle.student.predict(FRAME), trainers.predict(FRAME), atol=2e-4)
        assert not reads_ahead(trainers.encoder)


def reads_ahead(encoder):
    """Return whether the first token's state depends on the last token, with padding and without."""
    ids = torch.tensor([[10, 20, 30, 40], [10, 20, 30, 50]])
    whole = torch.ones_like(ids)
    alone = states(encoder.model, ids, whole)[0][:, 0]
    padded = torch.nn.functional.pad(ids, (0, 2))
    beside = states(encoder.model, padded, torch.nn.functional.pad(whole, (0, 2)))[0][:, 0]
    torch.testing.assert_close(alone, beside, atol=1e-5, rtol=1e-4)
    return bool((alone[0] - alone[1]).abs().max() > 1e-3)

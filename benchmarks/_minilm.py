"""The student that speed is measured with: MiniLM, a head for eight dimensions, and every way to run the two.

In: the weights of all-MiniLM-L6-v2 as a package ships them. Out: a bundle, and other libraries' models of the same
weights. Each contender is a function of texts; what it gives has eight numbers a text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from transformers import AutoTokenizer, BertForSequenceClassification, pipeline

from potstill.backends.openvino import precisions
from potstill.backends.plan import Variant
from potstill.bundle import EncoderFiles, load_bundle, write_bundle
from potstill.bundle.golden import TEXTS, word_lists
from potstill.bundle.reading import open_encoder
from potstill.calibration import fit_calibration
from potstill.export import export_encoder
from potstill.students.heads import LinearHead
from potstill.students.neural import NeuralStudent
from potstill.students.torch.backbones import find_backbone
from potstill.students.torch.encoder import TorchEncoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from potstill.bundle import Bundle
    from potstill.dataset import Examples
    from potstill.filters import Filter

    Scores = NDArray[Any]

NAME = "all-MiniLM-L6-v2"


@dataclass(frozen=True)
class Contender:
    """A way to score texts: `score(texts, batch)`, the batches to try, and what it computes in."""

    name: str
    precision: str
    score: Callable[[Sequence[str], int], Scores]
    batches: tuple[int, ...]


def make_bundle(folder: Path, scratch: Path, rows: Examples, filter_: Filter, tokens: int) -> Bundle:
    """A bundle of frozen MiniLM with a ridge head on `rows`, reading `tokens` tokens."""
    encoder = TorchEncoder.open(NAME, max_tokens=tokens, pooling="mean")
    features = encoder.encode(rows.texts)
    centred = features - features.mean(axis=0)
    gram = centred @ centred.T + 3.0 * np.eye(len(rows))
    labels = np.nan_to_num(rows.scores, nan=float(np.nanmean(rows.scores)))
    weights = centred.T @ np.linalg.solve(gram, labels - labels.mean(axis=0))
    head = LinearHead(weights.astype(np.float64), labels.mean(axis=0) - features.mean(axis=0) @ weights)
    student = NeuralStudent(encoder, head, rows.dimensions)
    golden = [*TEXTS, *word_lists(rows.texts, seed=0)]
    exported = export_encoder(encoder, scratch, [text.content for text in TEXTS] + [rows.texts[0] * 5])
    predicted = student.predict(rows.frame)
    return write_bundle(
        folder,
        student=student,
        recipe="minilm-ridge",
        filter_=filter_,
        calibration=fit_calibration(predicted, rows.scores, rows.clusters, dimensions=rows.dimensions),
        golden=golden,
        encoders=[EncoderFiles(exported.facts, {"model": exported.model, "tokenizer": exported.tokenizer})],
    )


def contenders(bundle: Bundle, scratch: Path, threads: int) -> list[Contender]:
    """Every way to run the bundle's network, ours first."""
    torch.set_num_threads(threads)
    source = find_backbone(NAME).folder
    tokens = bundle.manifest.encoders[0].max_tokens
    head = bundle.student.head  # type: ignore[attr-defined]  # it is a neural student
    ours = [Variant(threads=threads), fastest(threads).model_copy(update={"streams": threads})]
    # A processor without instructions for bf16 computes it many times slower than fp32.
    kinds = [torch.float32, torch.bfloat16] if "bf16" in precisions() else [torch.float32]
    return [
        *(_ours(bundle, variant) for variant in ours),
        *(transformers_pipeline(source, tokens, head, kind) for kind in kinds),
        *(_sentences(source, tokens, head, kind) for kind in kinds),
        _plain(bundle, _plain_graph(source, scratch / "plain.onnx"), "onnxruntime, graph as exported", threads),
        _plain(bundle, bundle.folder / "model.onnx", "onnxruntime, our fused graph", threads),
    ]


def fastest(threads: int) -> Variant:
    """OpenVINO in the lowest precision that this processor can multiply in."""
    return Variant(backend="openvino", precision=precisions()[-1], threads=threads)


def reference(bundle: Bundle) -> NeuralStudent:
    """The bundle's student as it runs everywhere."""
    student = load_bundle(bundle.folder, check="hashes").student
    assert isinstance(student, NeuralStudent)
    return student


def _ours(bundle: Bundle, variant: Variant) -> Contender:
    encoder = open_encoder(bundle.folder, bundle.manifest, variant)
    head = bundle.student.head  # type: ignore[attr-defined]  # as above

    def score(texts: Sequence[str], batch: int) -> Scores:
        encoder._token_budget = batch  # noqa: SLF001 - what `optimize` opens anew for each
        return head.predict(encoder.encode(texts))

    return Contender(f"potstill, {variant.title}", _precision(variant), score, (512, 1024, 2048, 4096))


def _precision(variant: Variant) -> str:
    return "bf16" if variant.precision == "bf16" else "fp32"


def transformers_pipeline(source: Path, tokens: int, head: LinearHead, dtype: torch.dtype) -> Contender:
    """`pipeline("text-classification")`; its classifier reads the first token, which costs as much as a mean."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = BertForSequenceClassification.from_pretrained(source, num_labels=head.bias.size, dtype=dtype).eval()
    with torch.no_grad():
        model.classifier.weight.copy_(torch.from_numpy(head.weights.T))
        model.classifier.bias.copy_(torch.from_numpy(head.bias))
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")

    def score(texts: Sequence[str], batch: int) -> Scores:
        found = classify(
            list(texts), batch_size=batch, truncation=True, max_length=tokens, top_k=None, function_to_apply="none"
        )
        return np.array([[one["score"] for one in sorted(row, key=lambda one: one["label"])] for row in found])

    name = _short(dtype)
    return Contender(f"transformers pipeline, {name}", name, score, (1, 8, 32))


def _sentences(source: Path, tokens: int, head: LinearHead, dtype: torch.dtype) -> Contender:
    """`SentenceTransformer.encode`, which sorts by length itself, and the head."""
    network = Transformer(str(source), max_seq_length=tokens, model_kwargs={"dtype": dtype})
    model = SentenceTransformer(modules=[network, Pooling(network.get_embedding_dimension(), "mean")], device="cpu")

    def score(texts: Sequence[str], batch: int) -> Scores:
        features = model.encode(list(texts), batch_size=batch, show_progress_bar=False, convert_to_tensor=True)
        return head.predict(features.float().numpy())

    name = _short(dtype)
    return Contender(f"sentence-transformers, {name}", name, score, (8, 32, 64))


def _plain(bundle: Bundle, graph: Path, name: str, threads: int) -> Contender:
    """ONNX Runtime as a page of its documentation has it: batches as they come, padded to their longest."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    tokenizer = AutoTokenizer.from_pretrained(find_backbone(NAME).folder)
    tokens = bundle.manifest.encoders[0].max_tokens
    head = bundle.student.head  # type: ignore[attr-defined]  # as above

    def score(texts: Sequence[str], batch: int) -> Scores:
        features = []
        for start in range(0, len(texts), batch):
            made = tokenizer(
                list(texts[start : start + batch]),
                padding=True,
                truncation=True,
                max_length=tokens,
                return_tensors="np",
            )
            features.append(session.run(None, {name: made[name] for name in ("input_ids", "attention_mask")})[0])
        return head.predict(np.concatenate(features))

    return Contender(name, "fp32", score, (1, 8, 32))


class _Mean(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1)


def _plain_graph(source: Path, path: Path) -> Path:
    """The graph that torch's exporter writes, without our fusion; made once."""
    if path.exists():
        return path
    from transformers import AutoModel

    model = _Mean(AutoModel.from_pretrained(source, attn_implementation="eager").eval())
    ids = torch.ones((2, 8), dtype=torch.int64)
    axes = {name: {0: "texts", 1: "tokens"} for name in ("input_ids", "attention_mask")}
    torch.onnx.export(
        model,
        (ids, ids),
        str(path),
        input_names=list(axes),
        output_names=["features"],
        dynamic_axes={**axes, "features": {0: "texts"}},
        opset_version=17,
        dynamo=False,
    )
    return path


def _short(dtype: torch.dtype) -> str:
    return "fp32" if dtype == torch.float32 else "bf16"

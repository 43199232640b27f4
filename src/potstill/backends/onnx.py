"""ONNX Runtime: the portable backend, on any CPU, without torch or transformers.

In: a graph that turns tokens into pooled features, and the tokenizer as `tokenizers` reads it. Out: features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from potstill.errors import BundleError
from potstill.students.encoding import TOKEN_BUDGET, token_batches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from onnxruntime import InferenceSession
    from tokenizers import Encoding, Tokenizer

    from potstill.records import BoolArray
    from potstill.students.encoding import EncoderFacts

INPUTS = ("input_ids", "attention_mask")
"""What the graph reads: int64, shape (texts, tokens)."""

OUTPUT = "features"
"""What the graph gives: float32, shape (texts, width)."""

_CHUNK = 1024
"""Texts tokenised at a time: what bounds the memory of a call with very many texts."""


class OnnxEncoder:
    """An exported encoder, run by ONNX Runtime in fp32 on the CPU.

    A text's features do not depend on its neighbours: batches are sorted by length and padded, and padding is
    masked, so the same text gives the same features to about 1e-6 in any batch.
    """

    name = "onnx"

    def __init__(
        self,
        model: Path,
        tokenizer: Path,
        facts: EncoderFacts,
        *,
        threads: int | None = None,
        token_budget: int = TOKEN_BUDGET,
    ) -> None:
        """Open the graph and the tokenizer.

        Args:
            model: the ONNX file.
            tokenizer: `tokenizer.json`.
            facts: what the encoder is.
            threads: threads of the model; one for each physical core where it is None.
            token_budget: tokens in a batch.

        Raises:
            BundleError: either file cannot be used; the message names it.
        """
        self.facts = facts
        self.width = facts.width
        self._token_budget = token_budget
        self._tokenizer = _open_tokenizer(tokenizer, facts.max_tokens)
        self._session = _open_session(model, threads)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Features, shape (texts, width), in input order; what lies beyond `max_tokens` is not read."""
        features = np.zeros((len(texts), self.width), dtype=np.float32)
        for start in range(0, len(texts), _CHUNK):
            encodings = self._tokenise(texts[start : start + _CHUNK])
            lengths = np.array([len(encoding.ids) for encoding in encodings], dtype=np.int64)
            for batch in token_batches(lengths, self._token_budget):
                features[start + batch] = self._run([encodings[index] for index in batch])
        return features

    def truncated(self, texts: Sequence[str]) -> BoolArray:
        """Which texts have more than `max_tokens` tokens, shape (texts,)."""
        found = np.zeros(len(texts), dtype=np.bool_)
        for start in range(0, len(texts), _CHUNK):
            encodings = self._tokenise(texts[start : start + _CHUNK])
            found[start : start + len(encodings)] = [bool(encoding.overflowing) for encoding in encodings]
        return found

    def _tokenise(self, texts: Sequence[str]) -> list[Encoding]:
        return self._tokenizer.encode_batch_fast([self.facts.prefix + text for text in texts])

    def _run(self, encodings: Sequence[Encoding]) -> NDArray[np.float32]:
        # A tokenizer without special tokens may find nothing in a text; one unmasked pad stands for it.
        longest = max(1, *(len(encoding.ids) for encoding in encodings))
        ids = np.full((len(encodings), longest), self.facts.pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            tokens = encoding.ids
            ids[row, : len(tokens)] = tokens
            mask[row, : max(1, len(tokens))] = 1
        features: NDArray[np.float32] = self._session.run([OUTPUT], dict(zip(INPUTS, (ids, mask), strict=True)))[0]
        return features


def _open_tokenizer(path: Path, max_tokens: int) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        # tokenizers raises Exception itself, not a class of its own, for whatever is wrong with a file.
        if type(error) is not Exception:
            raise
        raise BundleError(f"{path}: not a tokenizer ({error})") from None
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return tokenizer


def _open_session(path: Path, threads: int | None) -> InferenceSession:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (
        errors.Fail,
        errors.InvalidArgument,
        errors.InvalidGraph,
        errors.InvalidProtobuf,
        errors.NoSuchFile,
        errors.NotImplemented,
        errors.RuntimeException,
    ) as error:
        raise BundleError(f"{path}: not a graph that ONNX Runtime can run ({error})") from None
    names = tuple(value.name for value in session.get_inputs())
    if names != INPUTS or [value.name for value in session.get_outputs()] != [OUTPUT]:
        raise BundleError(f"{path}: reads {', '.join(names)}; an encoder reads {', '.join(INPUTS)} and gives {OUTPUT}")
    return session

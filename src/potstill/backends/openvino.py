"""OpenVINO, Intel's runtime, which multiplies in bfloat16 on x86 processors that support it.

Input: the same graph as for ONNX Runtime. Output: features; in float32 they equal ONNX Runtime's up to rounding, in
bfloat16 only approximately. Therefore only `potstill optimize` selects this backend for a bundle, after measuring the
differences.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from potstill.backends.graph import INPUTS, OUTPUT, GraphEncoder, check_interface
from potstill.errors import BundleError, require
from potstill.students.encoding import TOKEN_BUDGET

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from types import ModuleType

    from numpy.typing import NDArray

    from potstill.students.encoding import EncoderFacts
    from potstill.types import IntArray

Precision = Literal["f32", "bf16"]
"""Precision of the multiplications; weights on disk are float32 in both cases."""

_DEVICE = "CPU"

_TELEMETRY = "openvino_telemetry"

_STEP = 16
"""Lengths of single texts are rounded up to a multiple of this number of tokens."""

_BATCHES = 4
"""Minimum number of batches per stream; with fewer, some streams end long before others."""


class OpenVinoEncoder(GraphEncoder):
    """An exported encoder that OpenVINO runs on the CPU.

    With several streams, as many batches run concurrently, each on its share of the threads, so cores do not wait for
    each other. Small calls run their batches one after the other on all threads, so that a single article is not
    slower.
    """

    name: ClassVar[str] = "openvino"

    def __init__(
        self,
        model: Path,
        tokenizer: Path,
        facts: EncoderFacts,
        *,
        precision: Precision = "f32",
        threads: int | None = None,
        streams: int = 1,
        token_budget: int = TOKEN_BUDGET,
    ) -> None:
        """Compile the graph for this processor, which takes about half a second, and open the tokenizer.

        Args:
            model: the ONNX file.
            tokenizer: the file `tokenizer.json`.
            facts: description of the encoder.
            precision: precision of the multiplications.
            threads: number of threads of the model; None: one per physical core.
            streams: number of batches that run concurrently in calls with many batches; the first such call compiles
                the graph again.
            token_budget: maximum number of tokens in a batch.

        Raises:
            MissingExtra: openvino is not installed.
            BundleError: a file cannot be used, or the processor has no instructions for `precision`.
        """
        super().__init__(model, tokenizer, facts, token_budget)
        if precision not in precisions():
            raise BundleError(f"{model}: this processor has no instructions for {precision}")
        self._sources = (model, precision, threads)
        self._request = _compiled(*self._sources).create_infer_request()
        self._streams = streams
        self._idle: SimpleQueue[Any] = SimpleQueue()

    def run(self, ids: IntArray, mask: IntArray) -> NDArray[np.float32]:
        """Return features of one padded batch, shape (texts, width)."""
        return _inferred(self._request, *(self._rounded(ids, mask) if len(ids) == 1 else (ids, mask)))

    def run_batches(self, batches: Sequence[tuple[IntArray, IntArray]]) -> Iterable[NDArray[np.float32]]:
        """Yield features of padded batches, in their order; if there are many, several run concurrently."""
        if self._streams == 1 or len(batches) < _BATCHES * self._streams:
            return super().run_batches(batches)
        if self._idle.empty():
            compiled = _compiled(*self._sources, self._streams)
            for _ in range(self._streams):
                self._idle.put(compiled.create_infer_request())
        with ThreadPoolExecutor(self._streams) as lanes:
            return list(lanes.map(self._run_in_lane, batches))

    def _rounded(self, ids: IntArray, mask: IntArray) -> tuple[IntArray, IntArray]:
        """Pad a single text to one of a few lengths, since each new length costs some milliseconds."""
        tokens = ids.shape[1]
        more = max(0, min(-(-tokens // _STEP) * _STEP, self.facts.max_tokens) - tokens)
        padding = ((0, 0), (0, more))
        return np.pad(ids, padding, constant_values=self.facts.pad_id), np.pad(mask, padding)

    def _run_in_lane(self, batch: tuple[IntArray, IntArray]) -> NDArray[np.float32]:
        request = self._idle.get()
        try:
            return _inferred(request, *batch)
        finally:
            self._idle.put(request)


def precisions() -> tuple[Precision, ...]:
    """Return the precisions in which this processor can multiply.

    Raises:
        MissingExtra: openvino is not installed.
    """
    able = _library().Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
    return ("f32", "bf16") if "BF16" in able else ("f32",)


def _library() -> ModuleType:
    """Import OpenVINO without its telemetry; it has a fallback for when that package is not installed.

    Raises:
        MissingExtra: openvino is not installed.
    """
    if _TELEMETRY in sys.modules:
        return require("openvino", "openvino")
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # makes `import openvino_telemetry` an ImportError
    try:
        return require("openvino", "openvino")
    finally:
        del sys.modules[_TELEMETRY]


def _inferred(request: Any, ids: IntArray, mask: IntArray) -> NDArray[np.float32]:  # noqa: ANN401 - as _compiled
    # `infer` returns a copy; the request's own output memory is overwritten by the next request.
    features: NDArray[np.float32] = request.infer(dict(zip(INPUTS, (ids, mask), strict=True)))[OUTPUT]
    return features


def _compiled(path: Path, precision: Precision, threads: int | None, streams: int = 1) -> Any:  # noqa: ANN401 - openvino's classes are C++
    core = _library().Core()
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
        # The threads are divided among the streams.
        "NUM_STREAMS": streams,
    }
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    try:
        model = core.read_model(path)
        names = [[value.get_any_name() for value in values] for values in (model.inputs, model.outputs)]
        check_interface(path, *names)
        return core.compile_model(model, _DEVICE, options)
    except RuntimeError as error:
        raise BundleError(f"{path}: not a graph that OpenVINO can run ({' '.join(str(error).split())})") from None

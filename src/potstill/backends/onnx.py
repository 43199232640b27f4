"""ONNX Runtime, the portable backend: on any CPU, in float32, without torch or transformers.

Input: a graph that turns tokens into pooled features. Output: features that differ between processors only by rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from potstill.backends.graph import INPUTS, OUTPUT, GraphEncoder, check_interface
from potstill.errors import BadInput, BundleError
from potstill.files import check_file
from potstill.students.encoding import TOKEN_BUDGET

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession

    from potstill.students.encoding import EncoderFacts
    from potstill.types import IntArray


class OnnxEncoder(GraphEncoder):
    """An exported encoder that ONNX Runtime runs in float32 on the CPU.

    The same text gives the same features to about 1e-6 in any batch.
    """

    name: ClassVar[str] = "onnx"

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
            tokenizer: the file `tokenizer.json`.
            facts: description of the encoder.
            threads: number of threads of the model; None: one per physical core.
            token_budget: maximum number of tokens in a batch.

        Raises:
            BundleError: either file cannot be used; the message names it.
        """
        super().__init__(model, tokenizer, facts, token_budget)
        self._session = _open_session(model, threads)

    def run(self, ids: IntArray, mask: IntArray) -> NDArray[np.float32]:
        """Return features of one padded batch, shape (texts, width)."""
        features: NDArray[np.float32] = self._session.run([OUTPUT], dict(zip(INPUTS, (ids, mask), strict=True)))[0]
        return features


def _open_session(path: Path, threads: int | None) -> InferenceSession:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    # Every failure also raises an exception; at level 3 it would be printed too.
    options.log_severity_level = 4
    try:
        check_file(path)
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except BadInput as error:
        raise BundleError(str(error)) from None
    except Exception as error:
        # ONNX Runtime has a separate exception class for each of its status codes.
        raise BundleError(f"{path}: not a graph that ONNX Runtime can run ({' '.join(str(error).split())})") from error
    names = [[value.name for value in values] for values in (session.get_inputs(), session.get_outputs())]
    check_interface(path, *names)
    return session

"""Backends that run a student's encoder for scoring: one module each, with a common protocol.

Input: texts. Output: features, in input order, independent of the other texts in a batch. A bundle with a complete
network runs on ONNX Runtime, an adapter with its base on torch. `plan` can select another backend, such as OpenVINO in
bf16, for one bundle on one machine; `graph` is the common part of backends that run an exported graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from potstill.students import Encoder

if TYPE_CHECKING:
    from potstill.students.encoding import EncoderFacts


@runtime_checkable
class Backend(Encoder, Protocol):
    """An encoder for scoring: the interface of `students.Encoder`, and a name for reports."""

    name: str
    facts: EncoderFacts

"""Backends: what runs a student's encoder when it scores, a file each, behind one Protocol.

In: texts. Out: features, in input order, the same whatever stands beside a text in its batch. A bundle with a whole
network runs on ONNX Runtime, an adapter on a base on torch. `plan` is what may put another way, such as OpenVINO in
bf16, in front of the first, for one bundle on one machine; `graph` is what runners of an exported graph share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from potstill.students import Encoder

if TYPE_CHECKING:
    from potstill.students.encoding import EncoderFacts


@runtime_checkable
class Backend(Encoder, Protocol):
    """An encoder that scores: what `students.Encoder` asks, and what it is called in reports."""

    name: str
    facts: EncoderFacts

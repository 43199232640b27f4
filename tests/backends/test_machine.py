import pytest

from potstill.backends import machine
from potstill.backends.machine import this_machine

EPYC = """processor\t: 0
model name\t: Some Processor 9
flags\t\t: fpu vme avx2 fma avx512f avx512_bf16 rtm

processor\t: 1
model name\t: Another
"""


@pytest.fixture
def fresh():
    this_machine.cache_clear()
    yield
    this_machine.cache_clear()


def test_linux_tells_the_model_and_the_instructions_that_matter(tmp_path, monkeypatch, fresh):
    facts = tmp_path / "cpuinfo"
    facts.write_text(EPYC)
    monkeypatch.setattr(machine, "_CPU_FACTS", facts)
    found = this_machine()
    assert (found.processor, found.features) == ("Some Processor 9", ("avx2", "avx512_bf16", "avx512f", "fma"))
    assert found.cores >= 1


def test_a_system_that_does_not_say_has_no_instructions(tmp_path, monkeypatch, fresh):
    monkeypatch.setattr(machine, "_CPU_FACTS", tmp_path / "none")
    found = this_machine()
    assert found.features == ()
    assert found.processor

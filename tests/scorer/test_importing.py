"""Tests that scoring loads no large library and no module for datasets, labels, training or building bundles."""

import subprocess
import sys

import pytest
from tiny_bundle import tfidf_bundle

import potstill.bundle

OURS = (
    "potstill.dataset",
    "potstill.labelling",
    "potstill.oracle",
    "potstill.pipeline.run",
    "potstill.training",
    "potstill.export",
    "potstill.pipeline.bundle",
    "potstill.bundle.writing",
    "potstill.students.head_fitting",
    "potstill.students.recipes",
)
OTHERS = (
    "aiohttp", "altair", "anthropic", "cryptography", "datasketch", "google.genai", "httpx", "onnx", "openai",
    "openvino", "optuna", "peft", "requests", "scipy", "sklearn", "sqlite3", "torch", "transformers",
)  # fmt: skip


def loaded(code, *arguments):
    """Return which of the modules above a new interpreter has loaded after running some code."""
    code += f"\nimport sys; print(*(name for name in {OURS + OTHERS!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def test_importing_the_scorer_loads_no_module_of_training_or_of_building():
    assert loaded("import potstill.scorer") == []


def test_scoring_a_text_loads_none_of_them_either(tmp_path):
    folder = tfidf_bundle(tmp_path / "bundle").folder
    code = "import sys; from potstill.scorer import Scorer; Scorer.load(sys.argv[1]).score('A library opened.')"
    assert loaded(code, str(folder)) == []


@pytest.mark.parametrize("name", potstill.bundle.__all__)
def test_what_the_bundle_package_promises_is_there(name):
    assert getattr(potstill.bundle, name)


def test_a_name_that_the_bundle_package_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'unpack'"):
        potstill.bundle.unpack  # noqa: B018 - the access is what is tested

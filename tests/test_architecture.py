"""Tests of the rules for the structure of the code."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "peft", "sklearn", "scipy", "datasketch", "openai", "altair", "onnx")


def layers() -> list[str]:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return config["tool"]["importlinter"]["contracts"][0]["layers"]


def test_a_module_imports_only_from_layers_below_its_own():
    pytest.importorskip("importlinter")
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_has_its_layer():
    modules = {
        f"potstill.{path.stem}"
        for path in (ROOT / "src" / "potstill").iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.stem != "__init__"
    }
    assert modules == set(layers())


def test_only_the_pipeline_and_what_shows_it_are_above_the_library():
    known = layers()
    assert known[: known.index("potstill.pipeline") + 1] == [
        f"potstill.{name}" for name in ("__main__", "cli", "demo", "sklearn", "api", "pages", "report", "pipeline")
    ]


@pytest.mark.parametrize("module", ["potstill", "potstill.cli", "potstill.scorer"])
def test_importing_what_scoring_needs_loads_nothing_heavy(module):
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

import json
import re

import pytest

from potstill.backends import plan as plans
from potstill.backends.machine import this_machine
from potstill.backends.plan import (
    MOST_DRIFT,
    PORTABLE,
    Plan,
    Variant,
    library_versions,
    plan_path,
    read_plan,
    write_plan,
)


def a_plan(**changes):
    facts = {
        "bundle": "b" * 64,
        "machine": this_machine(),
        "versions": library_versions(),
        "variant": Variant(backend="openvino", precision="bf16", threads=3, streams=3, token_budget=2048),
        "drift": 0.01,
        "why": "it was faster",
        "proven_on": "400 articles",
        "tried": (),
    }
    return Plan(**(facts | changes))


def test_it_lies_beside_the_bundle_and_comes_back(tmp_path):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    path = write_plan(bundle, a_plan())
    assert path == plan_path(bundle)
    assert list(bundle.iterdir()) == []
    assert read_plan(bundle, "b" * 64) == (a_plan(), None)


def test_without_one_there_is_nothing_to_say(tmp_path):
    assert read_plan(tmp_path / "bundle", "b" * 64) == (None, None)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"bundle": "c" * 64}, "for another bundle"),
        ({"machine": this_machine().model_copy(update={"features": ("amx_tile",)})}, "on another machine"),
        ({"machine": this_machine().model_copy(update={"cores": 999})}, "999 cores"),
        ({"versions": library_versions() | {"onnxruntime": "0.1"}}, r"another version of onnxruntime \(0\.1, now"),
        ({"versions": library_versions() | {"gone": "1"}}, r"another version of gone \(1, now none\)"),
    ],
)
def test_one_that_does_not_fit_is_not_used_and_says_why(tmp_path, changes, why):
    write_plan(tmp_path / "bundle", a_plan(**changes))
    found, reason = read_plan(tmp_path / "bundle", "b" * 64)
    assert found is None
    assert re.search(why, reason)


@pytest.mark.parametrize("change", [{"schema_version": 2}, {"drift": 2 * MOST_DRIFT}, {"variant": {"backend": "x"}}])
def test_one_of_another_potstill_or_with_too_much_room_is_not_used(tmp_path, change):
    write_plan(tmp_path / "bundle", a_plan())
    path = plan_path(tmp_path / "bundle")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert read_plan(tmp_path / "bundle", "b" * 64) == (
        None,
        "the file is invalid, or another version of potstill wrote it",
    )


def test_a_broken_one_is_not_used(tmp_path):
    plan_path(tmp_path / "bundle").parent.mkdir()
    plan_path(tmp_path / "bundle").write_text("{")
    assert read_plan(tmp_path / "bundle", "b" * 64) == (
        None,
        "the file is invalid, or another version of potstill wrote it",
    )


def test_the_portable_way_is_onnx_runtime_in_fp32():
    assert (PORTABLE.title, PORTABLE.exact) == ("ONNX Runtime fp32", True)


def test_the_right_library_is_opened(monkeypatch):
    opened = []
    monkeypatch.setattr(plans, "OnnxEncoder", lambda *_, **options: opened.append(options))
    plans.open_variant(Variant(threads=2, token_budget=99), "model", "tokenizer", "facts")
    assert opened == [{"threads": 2, "token_budget": 99}]

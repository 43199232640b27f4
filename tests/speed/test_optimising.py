import json
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_bundle import articles, neural_bundle, tfidf_bundle
from tiny_run import started

from potstill.backends.machine import this_machine
from potstill.backends.plan import PORTABLE, plan_path, read_plan
from potstill.bundle import load_bundle
from potstill.bundle.layout import read_manifest
from potstill.errors import BadInput, MissingExtra
from potstill.files import sha256
from potstill.pipeline.material import labelled_rows
from potstill.speed import Limits, optimise_bundle
from potstill.speed.optimising import STREAMED_BUDGETS, WORTH, _fastest

QUICK = Limits(articles=200, timed=6, rounds=1, changed=1.0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("optimised")
    return neural_bundle(folder / "bundle", folder / "scratch").folder


@pytest.fixture(scope="module")
def news(tmp_path_factory):
    frame, _ = articles(40, seed=5)
    path = tmp_path_factory.mktemp("news") / "news.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dicts()))
    return path


@pytest.fixture(scope="module")
def done(bundle, news):
    pytest.importorskip("openvino")
    return optimise_bundle(bundle, news, limits=QUICK)


def test_the_plan_lies_beside_the_bundle_and_fits_it(bundle, done):
    assert done.path == plan_path(bundle)
    assert read_plan(bundle, read_manifest(bundle)[1]) == (done.plan, None)


def test_every_way_to_run_it_was_looked_at(done):
    titles = {tried.variant.title for tried in done.plan.tried}
    assert titles == {"ONNX Runtime fp32", "OpenVINO fp32", "OpenVINO bf16"}


def test_batches_at_once_are_among_what_is_tried_and_small(done):
    at_once = {tried.variant.token_budget for tried in done.plan.tried if tried.variant.streams > 1}
    openvino_won = any(tried.variant.backend == "openvino" and tried.variant.threads for tried in done.plan.tried)
    assert at_once == ({*STREAMED_BUDGETS} if openvino_won and this_machine().cores > 1 else set())


def test_one_of_them_is_chosen_and_the_sentence_names_it(done):
    chosen = [tried for tried in done.plan.tried if tried.verdict == "chosen"]
    assert [one.variant for one in chosen] == [done.plan.variant]
    assert done.plan.why.startswith(done.plan.variant.title)
    assert done.plan.proven_on.startswith("40 articles of ")


def test_a_bundle_that_follows_its_plan_says_what_it_said(bundle, done, news):
    frame, _ = articles(40, seed=5)
    frame = frame.with_columns(text=frame["content"])
    portable, planned = load_bundle(bundle), load_bundle(bundle, check="all", plan=done.plan)
    allowed = max(1e-3, 10 * done.plan.drift)
    np.testing.assert_allclose(planned.student.predict(frame), portable.student.predict(frame), atol=allowed)


def test_another_precision_must_be_proven(bundle, news):
    pytest.importorskip("openvino")
    plan = optimise_bundle(bundle, news, limits=Limits(articles=200, timed=6, rounds=1)).plan
    bf16 = next(tried for tried in plan.tried if tried.variant.precision == "bf16")
    # 40 articles cannot show that fewer than 2% change tier.
    assert bf16.verdict in {"refused", "unavailable"}
    assert plan.variant.exact


def test_without_articles_only_what_is_exact_may_be_used(bundle):
    pytest.importorskip("openvino")
    plan = optimise_bundle(bundle, limits=QUICK).plan
    assert plan.proven_on == "no articles"
    assert {tried.verdict for tried in plan.tried if not tried.variant.exact} <= {"refused", "unavailable"}


def test_in_a_run_the_labelled_rows_that_chose_nothing_are_the_proof(tmp_path):
    pytest.importorskip("openvino")
    run = started(tmp_path / "run")
    folder = neural_bundle(run.path("bundle"), tmp_path / "scratch").folder
    plan = optimise_bundle(folder, labelled_rows(folder, QUICK.articles), limits=QUICK).plan
    assert plan.proven_on.startswith("20 labelled articles of the test part")
    changes = [tried.change for tried in plan.tried if tried.change is not None]
    assert {(change.articles, change.labelled) for change in changes} == {(20, 20)}


def test_without_openvino_the_portable_way_is_tuned_and_the_other_is_named(bundle, news, monkeypatch):
    def missing(module, extra):
        raise MissingExtra(module, extra)

    monkeypatch.setattr("potstill.backends.openvino.require", missing)
    plan = optimise_bundle(bundle, news, limits=QUICK).plan
    assert plan.variant.backend == "onnx"
    others = [tried for tried in plan.tried if tried.variant.backend == "openvino"]
    assert [one.verdict for one in others] == ["unavailable", "unavailable"]
    assert "pip install 'potstill[openvino]'" in others[0].why


def test_nothing_in_the_bundle_changes(bundle, news):
    before = sha256(bundle)
    optimise_bundle(bundle, news, limits=QUICK)
    assert sha256(bundle) == before


def test_a_student_without_a_network_has_nothing_to_choose(tmp_path):
    with pytest.raises(BadInput, match="contains a tfidf-ridge student, which can run in only one way"):
        optimise_bundle(tfidf_bundle(tmp_path / "bundle").folder)


@pytest.mark.parametrize(("rates", "chosen"), [((10, 10.2), 0), ((10, 10 * WORTH + 0.1), 1), ((10, 14, 12), 1)])
def test_only_what_is_clearly_faster_takes_the_place_of_the_first(rates, chosen):
    candidates = [SimpleNamespace(rate=rate, variant=PORTABLE) for rate in rates]
    assert _fastest(candidates) is candidates[chosen]

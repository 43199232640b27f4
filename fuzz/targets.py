"""What is fuzzed: one function for each parser of files, answers and requests that others wrote.

In: bytes, and an empty folder to put a file in. Out: nothing, or one of potstill's own errors; `check` turns any other
exception into a finding. Bytes are put where a stranger's bytes would be: in a file of a bundle or a run, in a reply of
an oracle, in a request to a page.
"""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.errors import PotstillError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from potstill.pages.loopback import Answers

# The small bundle and run are the ones that the tests make.
sys.path.append(str(Path(__file__).parents[1] / "tests"))

FILTER_YAML = """name: fuzzed
version: 1
description: A filter for fuzzing.
dimensions:
  gain: {weight: 0.5, description: How much people gain}
  near: {weight: 0.5, description: How near it is}
gates:
  - {when: gain < 2 AND NOT near BETWEEN 3 AND 4, cap: 3.0, reason: no gain}
caps:
  - {any: [advertisement], unless: [ban], cap: 1.0, reason: paid for}
tiers:
  - {name: lead, when: overall >= 6, positive: true}
  - {name: drawer}
prefilter:
  drop:
    - {reason: code page, any: [git clone]}
"""

RECIPE_YAML = """name: mine
student: encoder-head
backbones: [all-MiniLM-L6-v2]
layers: [-1, -3]
learns: distribution
head: {kind: rbf-ridge, alphas: [0.1, 0.3], gamma: [0.5]}
"""


@dataclass(frozen=True, slots=True)
class Target:
    """One parser: a function that gives it bytes, and the inputs that fuzzing starts from."""

    run: Callable[[bytes, Path], object]
    seeds: tuple[bytes, ...]


def check(target: Target, data: bytes, folder: Path) -> None:
    """Give bytes to a parser; potstill's own errors are fine, anything else is raised."""
    try:
        target.run(data, folder)
    except PotstillError as error:
        line = one_line(f"error: {error}")
        if "\n" in line or not line.isprintable():
            raise AssertionError(f"the message is not one printable line: {line!r}") from error


@cache
def _filter():  # noqa: ANN202 - loaded late
    from potstill.filters import parse_filter

    return parse_filter(FILTER_YAML, "Score the gain and the nearness.", "fuzzed")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()


def _file(data: bytes, folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# Filters, conditions, recipes and other YAML


def condition(data: bytes, _: Path) -> None:
    """A condition of a gate, a cap or a tier."""
    from potstill.conditions import parse

    parse(_text(data), ("gain", "near", "overall"))


def filter_yaml(data: bytes, folder: Path) -> None:
    """A filter package."""
    from potstill.filters import load_filter

    package = folder / "package"
    package.mkdir(exist_ok=True)
    (package / "filter.yaml").write_bytes(data)
    (package / "rubric.md").write_text("Score the gain.", encoding="utf-8")
    load_filter(package)


def probes_yaml(data: bytes, folder: Path) -> None:
    """The behaviour tests of a filter."""
    from potstill.filters import load_probes

    load_probes(_filter(), _file(data, folder, "probes.yaml"))


def recipe_yaml(data: bytes, folder: Path) -> None:
    """A recipe of a student."""
    from potstill.students.recipes import load_recipe

    load_recipe(_file(data, folder, "recipe.yaml"))


def space_yaml(data: bytes, folder: Path) -> None:
    """A space in which `tune` searches."""
    from potstill.pipeline.tune import load_space

    load_space(_file(data, folder, "space.yaml"))


def targets_yaml(data: bytes, folder: Path) -> None:
    """Declared targets."""
    from potstill.evaluation.targets import read_targets

    read_targets(_file(data, folder, "targets.yaml"))


# Articles


def _articles(name: str) -> Callable[[bytes, Path], object]:
    def run(data: bytes, folder: Path) -> None:
        from potstill.articles import count_articles, read_all

        path = _file(data, folder, name)
        count_articles(path)
        read_all(path)

    run.__doc__ = f"Articles in a file `{name}`."
    return run


def page(data: bytes, _: Path) -> None:
    """A web page, in this process, so that its parsers' own code guides the fuzzing."""
    from potstill import web_process

    # Its refusals, which `potstill.articles.pages` passes on with the file's name.
    with suppress(ValueError):
        web_process.page(web_process.as_text(data))


def feed(data: bytes, _: Path) -> None:
    """An RSS or Atom feed, as `page`."""
    from potstill import web_process

    with suppress(ValueError):
        web_process.feed(web_process.as_text(data))


def prices(data: bytes, folder: Path) -> None:
    """A table of prices."""
    from potstill.labelling.prices import find_price

    find_price("openai:m", None, _file(data, folder, "prices.yaml"))


def decisions(data: bytes, folder: Path) -> None:
    """A run's log of decisions."""
    from potstill.pipeline.accept import decisions_of

    decisions_of(_file(data, folder, "decisions.jsonl"))


def times(data: bytes, _: Path) -> None:
    """A time of publication."""
    from potstill.times import TimeError, read_time, year_of

    year_of(_text(data))
    # Whoever calls it says of which article the time is.
    with suppress(TimeError):
        read_time(_text(data))


# Answers of an oracle


def reply(data: bytes, _: Path) -> None:
    """The text of a reply, read with and without a schema."""
    from potstill.oracle import Failure
    from potstill.oracle.prompt import Prompt

    try:
        Prompt.of(_filter()).parse(_text(data))
    except Failure as failure:
        str(failure)


def replay(data: bytes, folder: Path) -> None:
    """A file of recorded answers."""
    from potstill.oracle import open_oracle
    from potstill.oracle.prompt import Prompt

    oracle = open_oracle(f"replay:{_file(data, folder, 'answers.jsonl')}")
    oracle.prepare(Prompt.of(_filter()))


# What evaluation reads


def predictions(data: bytes, folder: Path) -> None:
    """A file of predictions of some other program."""
    from potstill.pipeline.predictions import read_predictions

    read_predictions(_file(data, folder, "predictions.json"), _filter())


def history(data: bytes, folder: Path) -> None:
    """The history of a training of some other program."""
    from potstill.evaluation.history import read_history

    read_history(_file(data, folder, "history.json"))


# Runs and bundles


@cache
def whole_run() -> Path:
    """A small run with every stage done, made once."""
    import tempfile

    from evaluated_run import evaluated_run

    folder = Path(tempfile.mkdtemp())
    evaluated_run(folder)
    return folder / "run"


def _of_run(name: str) -> Callable[[bytes, Path], object]:
    def run(data: bytes, folder: Path) -> None:
        from potstill.evaluation import Evaluation
        from potstill.evaluation.history import read_history
        from potstill.pipeline.evaluate import candidates
        from potstill.pipeline.run import Run

        copy = folder / "run"
        if not copy.exists():
            shutil.copytree(whole_run(), copy)
        (copy / name).write_bytes(data)
        opened = Run.open(copy)
        opened.status()
        if name == "evaluation.json":
            Evaluation.from_file(copy / name)
        if name.startswith("students"):
            candidates(copy / "students")
        if name.endswith("history.json"):
            read_history(copy / name)

    run.__doc__ = f"A run whose {name} was written by somebody else."
    return run


@cache
def bundle() -> Path:
    """A small bundle, made once; a target copies it and puts the fuzzed bytes in place of one of its files."""
    import tempfile

    from tiny_bundle import tfidf_bundle

    folder = Path(tempfile.mkdtemp()) / "bundle"
    tfidf_bundle(folder)
    return folder


def _of_bundle(name: str) -> Callable[[bytes, Path], object]:
    def run(data: bytes, folder: Path) -> None:
        from potstill.bundle.layout import read_manifest, write_manifest
        from potstill.bundle.reading import load_bundle
        from potstill.files import sha256

        copy = folder / "bundle"
        if not copy.exists():
            shutil.copytree(bundle(), copy)
        (copy / name).write_bytes(data)
        if name != "bundle.json":
            # An attacker who changes a file writes its new hash too.
            manifest, _ = read_manifest(bundle())
            hashes = {**manifest.files, name: sha256(copy / name)}
            write_manifest(copy, manifest.model_copy(update={"files": hashes}))
        load_bundle(copy)

    run.__doc__ = f"A bundle whose {name} was written by somebody else, with its hash."
    return run


def made_targets() -> dict[str, Target]:
    """A target for each file of a bundle, and for records of a run."""
    records = sorted(
        str(path.relative_to(whole_run()))
        for path in (*whole_run().glob("*.json"), *whole_run().glob("students/tfidf-ridge/*.json"))
    )
    runs = {
        f"run-{name.replace('/', '-')}": Target(_of_run(name), ((whole_run() / name).read_bytes(),)) for name in records
    }
    return runs | _bundle_targets()


def _bundle_targets() -> dict[str, Target]:
    names = sorted(str(path.relative_to(bundle())) for path in bundle().rglob("*") if path.is_file())
    return {
        f"bundle-{name.replace('/', '-')}": Target(_of_bundle(name), ((bundle() / name).read_bytes(),))
        for name in names
    }


# Pages


@cache
def _desk():  # noqa: ANN202 - loaded late
    from potstill.pages.review import Desk
    from potstill.pipeline.review import Review
    from potstill.pipeline.run import Run

    return Desk(Review.of(Run.open(whole_run()), "Ann"))


@cache
def _view():  # noqa: ANN202 - loaded late
    from potstill.pages.explorer import Explorer
    from potstill.pages.view import View
    from potstill.pipeline.predictions import read_predictions
    from potstill.pipeline.run import Run

    run = Run.open(whole_run())
    return View(Explorer.of(run), read_predictions(run.folder, run.filter), has_report=False)


def _post(answers: Answers, data: bytes, *paths: str) -> None:
    from potstill.pages.bodies import parse_body

    value = parse_body(data)
    for path in paths:
        try:
            found = answers.post(path, value)
        except PotstillError as error:
            found = {"error": one_line(str(error))}
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()


def review_post(data: bytes, _: Path) -> None:
    """The body of what the review page sends."""
    _post(_desk(), data, "/api/judge", "/api/retract")


def view_post(data: bytes, _: Path) -> None:
    """The body of what the page of articles sends."""
    _post(_view(), data, "/api/articles", "/api/article", "/api/whatif")


_ROW = {"id": "a", "title": "T", "content": "Some text &amp; more.", "published": "2021-06-01T21:41:00Z", "n": 3}
_ANSWER = {"scores": {"gain": 5.0, "near": 2.5}, "evidence": "some"}

TARGETS: dict[str, Target] = {
    "condition": Target(
        condition, (b"gain < 5 AND NOT (near >= 7 AND gain >= 3)", b"overall BETWEEN 1 AND 2 OR 2*gain>-3e1")
    ),
    "filter": Target(filter_yaml, (FILTER_YAML.encode(),)),
    "probes": Target(
        probes_yaml,
        (b"ramps:\n  gain:\n    - [A fire., A school.]\nparaphrases:\n  - [One and two., Two and one.]\n",),
    ),
    "recipe": Target(recipe_yaml, (RECIPE_YAML.encode(),)),
    "space": Target(
        space_yaml,
        (b"name: mine\nstart: minilm-lora\nsearch:\n  learning_rate: {low: 1.0e-4, high: 1.0e-3, log: true}\n",),
    ),
    "targets": Target(targets_yaml, (b"targets:\n  - {figure: shipped.judgement.mean.mae, at_most: 1.0}\n",)),
    "jsonl": Target(
        _articles("articles.jsonl"), (json.dumps(_ROW).encode() + b"\n" + json.dumps(_ROW | {"id": "b"}).encode(),)
    ),
    "csv": Target(_articles("articles.csv"), (b'id,title,content\na,T,"Some, text"\nb,U,more\n',)),
    "page": Target(
        page,
        (
            (
                b"<html lang='en'><head><title>T</title></head><body><article><h1>T</h1><p>A village reopened its "
                b"library on Saturday &amp; four hundred people came.</p></article></body></html>"
            ),
        ),
    ),
    "feed": Target(
        feed,
        (
            (
                b"<rss version='2.0'><channel><item><guid>1</guid><title>T</title><description>A &lt;b&gt;story"
                b"&lt;/b&gt;</description><pubDate>Tue, 01 Jun 2021 21:41:00 +0200</pubDate></item></channel></rss>"
            ),
            b"<feed xmlns='http://www.w3.org/2005/Atom'><entry><id>1</id><title>T</title><content>C</content></entry></feed>",
        ),
    ),
    "prices": Target(prices, (b"openai:m: {input: 0.25, output: 2}\n",)),
    "decisions": Target(
        decisions,
        (
            (
                b'{"when": "2026-11-30T09:00:00+00:00", "accepted": true, "why": "good", "evaluation_sha256": "a", '
                b'"bundle_sha256": null, "targets_met": null}\n'
            ),
        ),
    ),
    "times": Target(times, (b"June 1, 2021 9:41 PM", b"Tue, 01 Jun 2021 21:41:00 +0200", b"1622583660")),
    "reply": Target(
        reply,
        (
            json.dumps(_ANSWER).encode(),
            b'<think>maybe {"scores": 1}</think>```json\n' + json.dumps(_ANSWER).encode() + b"\n```",
            b"[THINK]no[/THINK] I will not answer.",
        ),
    ),
    "replay": Target(
        replay,
        (
            json.dumps({"id": "a", **_ANSWER}).encode() + b"\n",
            json.dumps({"id": "a", "samples": [_ANSWER, _ANSWER]}).encode(),
        ),
    ),
    "predictions": Target(
        predictions,
        (
            json.dumps(
                {
                    "predictions": [[1, 2]],
                    "labels": [[1, None]],
                    "article_ids": ["a"],
                    "dimension_names": ["gain", "near"],
                }
            ).encode(),
        ),
    ),
    "history": Target(
        history, (json.dumps([{"epoch": 1, "train_mae": 1.0, "val_mae": 1.1, "learning_rate": 1e-4}]).encode(),)
    ),
    "review": Target(
        review_post,
        (
            b'{"id": "a1", "scores": {"gain": 1, "near": 2.5}, "note": "n"}',
            b'{"id": "a1", "scores": {"gain": null, "near": NaN}, "note": "\\ud83d\\ude00"}',
        ),
    ),
    "view": Target(
        view_post,
        (
            b'{"text": "story", "facets": {"tier_oracle": "lead"}, "sort": "title", "offset": 3}',
            b'{"id": "a7"}',
            b'{"settings": ["tiers.lead.when=overall >= 4.5", "weights.gain=0.5", "gates.0=off", "caps.0.cap=2"]}',
        ),
    ),
}
"""The targets that need neither a bundle nor a run."""

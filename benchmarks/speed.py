"""Scoring speed beside other libraries, on the same texts and weights, in turn, in one run; and beside the hardware.

A MiniLM-class student with eight dimensions reads articles of realistic length (real words, log-normal, median 300)
in windows of 256 and 512 tokens. Against potstill stand `transformers`' pipeline, `sentence-transformers` and plain
ONNX Runtime, each at the batch size that suited it best, with the same threads, window and truncation, in fp32 as
documented and in bf16. Ratios are of rounds that ran side by side. The matrix-multiply peak is measured in the same
rounds. Then single articles, the cheap rungs from a file, and the start of a process.

    POTSTILL_DATA=... python benchmarks/speed.py [--parts windows alone cheap start] [--windows 256 512]
        [--articles 48] [--rounds 3] [--singles 20] [--cheap 2000]

Parts that are not asked for keep their figures of before.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from _minilm import contenders, fastest, make_bundle, reference
from _students import write
from tokenizers import Tokenizer

from potstill.backends.machine import this_machine, usable_cores
from potstill.backends.plan import Variant
from potstill.bundle import EncoderFiles, load_bundle, write_bundle
from potstill.bundle.golden import TEXTS, word_lists
from potstill.bundle.reading import open_encoder
from potstill.calibration import fit_calibration
from potstill.dataset import Examples
from potstill.export import export_encoder
from potstill.files import read_json, write_json
from potstill.filters import parse_filter
from potstill.scorer import BATCH, Scorer, score_file
from potstill.speed.new_process import measure_fresh
from potstill.speed.timing import interleaved, percentile
from potstill.students.neural import fit_encoder_head
from potstill.students.neural import open_encoder as open_encoder_of
from potstill.students.recipes import EncoderHeadRecipe, TfidfRecipe, load_recipe
from potstill.students.tfidf import fit_tfidf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from _minilm import Contender

    from potstill.bundle import Bundle
    from potstill.filters import Filter
    from potstill.students.storage import AnyStudent

RESULT = Path(__file__).parent / "results" / "speed.json"
MEDIAN_WORDS, SPREAD = 300, 0.6
HIDDEN, INNER, LAYERS = 384, 1536, 6
"""MiniLM-L6's sizes, for the work that its tokens need."""

MATRIX = 2048

PAUSE = 0.2
"""Seconds before an article is timed alone."""

PARTS = ("windows", "alone", "cheap", "start")
"""In bulk beside others, one article at a time beside others, the cheap rungs, the start of a process."""


def main() -> int:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--articles", type=int, default=48, help="articles in bulk")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--singles", type=int, default=20, help="articles timed alone")
    parser.add_argument("--cheap", type=int, default=2000, help="articles for the cheap rungs")
    parser.add_argument("--windows", type=int, nargs="+", default=[256, 512], help="tokens")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--scratch", type=Path, help="folder that keeps bundles and chosen batches for a later call")
    arguments = parser.parse_args()
    started = time.monotonic()
    data = Path(os.environ.get("POTSTILL_DATA", Path(__file__).parents[2] / "shared" / "data"))
    path = data / "sustainability-gemini.jsonl.gz"
    if not path.is_file():
        print(f"skipped: no benchmark data at {path}; set POTSTILL_DATA", file=sys.stderr)
        return 0
    rows, filter_ = labelled(path)
    threads = usable_cores()
    found: dict[str, Any] = {"threads": threads, "cpu": this_machine().model_dump()}
    with tempfile.TemporaryDirectory() as name:
        scratch = arguments.scratch or Path(name)
        if {"windows", "alone"} & {*arguments.parts}:
            found["windows"] = {
                str(tokens): window(scratch, rows, filter_, tokens, threads, arguments) for tokens in arguments.windows
            }
        if "cheap" in arguments.parts:
            found["cheap"] = cheap(scratch, rows, filter_, arguments.cheap, arguments.rounds, threads)
        if "start" in arguments.parts:
            found["start"] = start(scratch, network(scratch, rows, filter_, arguments.windows[-1]).folder)
    # Read only now, so that parts which somebody else has measured meanwhile stay.
    before = read_json(arguments.out) if arguments.out.exists() else {}
    write(arguments.out, merged(before, found), started)
    return 0


def merged(before: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What was measured now, and of what was measured before all that is not measured anew."""
    inner = {"windows": {**before.get("windows", {})}, "cheap": {**before.get("cheap", {})}}
    for tokens, result in found.get("windows", {}).items():
        inner["windows"][tokens] = {**inner["windows"].get(tokens, {}), **result}
    inner["cheap"] |= found.get("cheap", {})
    return {**before, **found, **{name: value for name, value in inner.items() if value}}


def labelled(path: Path) -> tuple[Examples, Filter]:
    """Articles with labels, cut to their windows; the order is drawn."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    names = tuple(rows[0]["scores"])
    dimensions = "\n".join(f"  {name}: {{weight: {1 / len(names)}, description: {name}}}" for name in names)
    filter_ = parse_filter(
        f"name: speed\nversion: 1\ndescription: Speed.\ntext: {{max_chars: 20000}}\ndimensions:\n{dimensions}\n"
        "tiers:\n  - {name: high, when: overall >= 5, positive: true}\n  - {name: mid, when: overall >= 3}\n"
        "  - {name: low}\n",
        "Score.",
        "speed",
    )
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    rows = [rows[place] for place in order]
    frame = pl.DataFrame(
        {"id": [row["id"] for row in rows], "text": [filter_.text.of(row["title"], row["content"]) for row in rows]}
    )
    scores = np.array([[row["scores"].get(name, np.nan) for name in names] for row in rows], dtype=np.float64)
    return Examples(tuple(frame["id"]), frame, scores, np.arange(len(rows)), names), filter_


def realistic(texts: Sequence[str], count: int, seed: int, median: float = MEDIAN_WORDS) -> list[str]:
    """Articles of real words, their lengths log-normal."""
    rng = np.random.default_rng(seed)
    words = [word for place in rng.permutation(len(texts)) for word in texts[place].split()]
    made, at = [], 0
    for length in np.clip(rng.lognormal(np.log(median), SPREAD, count), 20, 2000).astype(int).tolist():
        if at + length > len(words):
            at = 0
        made.append(" ".join(words[at : at + length]))
        at += length
    return made


def network(scratch: Path, rows: Examples, filter_: Filter, tokens: int) -> Bundle:
    """The bundle that reads so many tokens, made once."""
    folder = scratch / f"bundle-{tokens}"
    if folder.exists():
        return load_bundle(folder, check="hashes")
    return make_bundle(folder, scratch / f"export-{tokens}", rows.take(np.arange(200)), filter_, tokens)


def window(
    scratch: Path, rows: Examples, filter_: Filter, tokens: int, threads: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """What is asked for of one window."""
    bundle = network(scratch, rows, filter_, tokens)
    ways = contenders(bundle, scratch, threads)
    result: dict[str, Any] = {}
    if "windows" in arguments.parts:
        texts = realistic(rows.texts, arguments.articles, seed=tokens)
        batches = best_batches(scratch / f"batches-{tokens}.json", ways, texts[: max(4, len(texts) // 3)])
        result |= bulk(bundle, ways, texts, batches, arguments.rounds)
        result["fidelity"] = fidelity(ways, rows.take(np.arange(200, 200 + arguments.articles)))
    if "alone" in arguments.parts:
        result["alone"] = alone(bundle, ways, rows.texts, tokens, arguments.singles, threads)
    print(json.dumps({str(tokens): result}, indent=1), flush=True)
    return result


def bulk(
    bundle: Bundle, ways: Sequence[Contender], texts: Sequence[str], batches: dict[str, int], rounds: int
) -> dict[str, Any]:
    """Many texts at once, each contender at its best batch, and the peaks of this machine."""
    work: dict[str, Callable[[], object]] = {
        way.name: (lambda way=way: way.score(texts, batches[way.name])) for way in ways
    }
    kinds = {way.precision for way in ways}
    work |= {f"peak {kind}": matrices(torch.bfloat16 if kind == "bf16" else torch.float32) for kind in sorted(kinds)}
    seconds = interleaved(work, rounds)
    lengths = np.array([len(one) for one in reference(bundle).encoder.tokens(texts)])  # type: ignore[attr-defined]
    flops = float((LAYERS * (8 * lengths * HIDDEN**2 + 4 * lengths * HIDDEN * INNER + 4 * lengths**2 * HIDDEN)).sum())
    peak = {name: MATRIX**3 * 2 * 8 / np.array(seconds[f"peak {name}"]) for name in kinds}
    return {
        "mean_tokens": round(float(lengths.mean()), 1),
        "gflops_peak": {name: round(float(np.median(value)) / 1e9, 1) for name, value in peak.items()},
        "contenders": {
            way.name: described(way, batches[way.name], seconds, len(texts), flops, peak[way.precision]) for way in ways
        },
        "ratios": ratios(ways, seconds),
    }


def best_batches(kept: Path, ways: Sequence[Contender], texts: Sequence[str]) -> dict[str, int]:
    """The batch size at which each contender is fastest; found once."""
    if not kept.exists():
        write_json(kept, {way.name: best_batch(way, texts) for way in ways})
    return {str(name): int(batch) for name, batch in read_json(kept).items()}


def best_batch(way: Contender, texts: Sequence[str]) -> int:
    """The batch size at which a contender is fastest."""
    seconds = interleaved({str(batch): (lambda batch=batch: way.score(texts, batch)) for batch in way.batches}, 1)
    return min(way.batches, key=lambda batch: seconds[str(batch)][0])


def matrices(dtype: torch.dtype) -> Callable[[], object]:
    """Eight products of large matrices."""
    a, b = (torch.randn(MATRIX, MATRIX).to(dtype) for _ in range(2))

    def multiply() -> None:
        for _ in range(8):
            torch.mm(a, b)

    return multiply


def described(
    way: Contender, batch: int, seconds: dict[str, list[float]], articles: int, flops: float, peak: np.ndarray
) -> dict[str, Any]:
    """A contender's figures; its share of the peak is round by round."""
    rates = articles / np.array(seconds[way.name])
    shares = flops / np.array(seconds[way.name]) / peak
    return {
        "batch": batch,
        "articles_per_second": round(float(np.median(rates)), 2),
        "rounds": [round(float(rate), 2) for rate in rates],
        "share_of_peak": round(float(np.median(shares)), 3),
    }


def ratios(ways: Sequence[Contender], seconds: dict[str, list[float]]) -> dict[str, dict[str, list[float]]]:
    """How many times as fast as each of the others ours are: median, least and most over rounds."""
    ours = [way.name for way in ways if way.name.startswith("potstill")]
    others = [way.name for way in ways if way.name not in ours]
    return {
        mine: {other: spread(np.array(seconds[other]) / np.array(seconds[mine])) for other in others} for mine in ours
    }


def spread(values: np.ndarray) -> list[float]:
    """Median, least, most."""
    return [round(float(value), 3) for value in (np.median(values), values.min(), values.max())]


def alone(
    bundle: Bundle, ways: Sequence[Contender], texts: Sequence[str], tokens: int, count: int, threads: int
) -> dict[str, dict[str, float]]:
    """Milliseconds of one article that fills the window; each contender gets the same articles in turn.

    Ours come twice: from text to scores, as the others, and from text to verdict, as `Scorer.score` gives it.
    """
    full = [" ".join(texts[place : place + 12])[: 12 * tokens] for place in range(0, 12 * count, 12)]
    work: dict[str, Callable[[str], object]] = {
        way.name: (lambda text, way=way: way.score([text], 4096)) for way in ways
    }
    for variant in (Variant(threads=threads), fastest(threads)):
        student = replace(bundle.student, encoder=open_encoder(bundle.folder, bundle.manifest, variant))  # type: ignore[type-var]
        work[f"potstill, {variant.title}, whole verdict"] = Scorer(replace(bundle, student=student)).score
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for text in [full[0], *full]:
        for name, score in work.items():
            # Threads of the one before wait busily for a while, and would take its cores from the next.
            time.sleep(PAUSE)
            start = time.perf_counter()
            score(text)
            seconds[name].append(time.perf_counter() - start)
    return {
        name: {f"p{round(100 * share)}": round(1000 * percentile(values[1:], share), 2) for share in (0.5, 0.95)}
        for name, values in seconds.items()
    }


def fidelity(ways: Sequence[Contender], rows: Examples) -> dict[str, dict[str, float]]:
    """How far our ways' scores are from fp32's, in points of 0 to 10, and what that does to the error."""
    exact, *others = (way for way in ways if way.name.startswith("potstill"))
    expected = np.clip(exact.score(rows.texts, 4096), 0, 10)
    error = float(np.nanmean(np.abs(expected - rows.scores)))
    found = {}
    for way in others:
        scores = np.clip(way.score(rows.texts, 4096), 0, 10)
        found[way.name] = {
            "articles": len(rows),
            "largest_difference": round(float(np.abs(scores - expected).max()), 4),
            "mae_change": round(float(np.nanmean(np.abs(scores - rows.scores))) - error, 5),
        }
    return found


def cheap(
    scratch: Path, rows: Examples, filter_: Filter, count: int, rounds: int, processes: int
) -> dict[str, dict[str, Any]]:
    """Students without a network, or hardly one, from a file of JSON lines to another."""
    learned = rows.take(np.arange(min(1500, len(rows))))
    small, large = (write_articles(scratch, realistic(rows.texts, many, seed=1)) for many in (count, 10 * count))
    found = {"static": static(scratch, small, count, learned, filter_, rounds)}
    for name, characters in (("words and characters", (3, 5)), ("words", None)):
        recipe = TfidfRecipe(name="cheap", student="tfidf-ridge", characters=characters, alphas=(10.0,))
        folder = scratch / name.replace(" ", "-")
        bundle = load_bundle(folder) if folder.exists() else tfidf_bundle(folder, recipe, learned, filter_)
        found[name] = tfidf(
            Scorer(bundle), sklearn_work(small, learned, recipe), (small, large), count, rounds, processes
        )
        print(json.dumps({name: found[name]}, indent=1), flush=True)
    return found


def tfidf(
    scorer: Scorer, theirs: Callable[[], object], files: tuple[Path, Path], count: int, rounds: int, processes: int
) -> dict[str, Any]:
    """TF-IDF beside scikit-learn's vectorizers and ridge on the same terms.

    Several processes take a second to start, so they get a file ten times as large, and stand beside nothing. They are
    those of the command: processes of this script would begin by loading the libraries that it compares with.
    """
    small, large = files
    seconds = interleaved({"ours": scoring_work(scorer, small, 1), "theirs": theirs}, rounds)
    ours, sklearn = (np.array(seconds[name]) for name in ("ours", "theirs"))
    several = np.array(interleaved({"several": command(scorer.bundle.folder, large, processes)}, 2)["several"])
    return {
        "articles": count,
        "scikit_learn_articles_per_second": spread(count / sklearn),
        "articles_per_second": spread(count / ours),
        "times_scikit_learn": spread(sklearn / ours),
        "processes": processes,
        "articles_per_second_in_processes": spread(10 * count / several),
    }


def static(scratch: Path, source: Path, count: int, learned: Examples, filter_: Filter, rounds: int) -> dict[str, Any]:
    """Static word vectors beside their own tokenizer, which gets texts that are in memory already."""
    folder = scratch / "static"
    if not folder.exists():
        recipe = load_recipe("e5-static")
        assert isinstance(recipe, EncoderHeadRecipe)
        encoder = open_encoder_of(recipe)
        student = fit_encoder_head(recipe, learned, encoder=encoder)
        exported = export_encoder(encoder, scratch / "export-static", [text.content for text in TEXTS])  # type: ignore[arg-type]
        files = EncoderFiles(exported.facts, {"model": exported.model, "tokenizer": exported.tokenizer})
        student_bundle(folder, student, learned, filter_, [files])
    scorer = Scorer.load(folder, follow_plan=False)
    facts = scorer.bundle.manifest.encoders[0]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(facts.max_tokens)
    with source.open(encoding="utf-8") as stream:
        texts = [facts.prefix + json.loads(line)["content"] for line in stream]

    def tokenise() -> None:
        for start in range(0, len(texts), BATCH):
            tokenizer.encode_batch(texts[start : start + BATCH])

    seconds = interleaved({"ours": scoring_work(scorer, source, 1), "tokenizer": tokenise}, rounds)
    ours, tokens = (np.array(seconds[name]) for name in ("ours", "tokenizer"))
    result = {
        "articles": count,
        "articles_per_second": spread(count / ours),
        "tokenizer_articles_per_second": spread(count / tokens),
        "share_of_tokenizer": spread(tokens / ours),
    }
    print(json.dumps({"static": result}, indent=1), flush=True)
    return result


def write_articles(folder: Path, texts: Sequence[str]) -> Path:
    """A file of articles, JSON lines."""
    path = folder / f"cheap-{len(texts)}.jsonl"
    lines = (json.dumps({"id": f"c{row}", "title": "", "content": text}) + "\n" for row, text in enumerate(texts))
    path.write_text("".join(lines), encoding="utf-8")
    return path


def scoring_work(scorer: Scorer, source: Path, processes: int) -> Callable[[], object]:
    """Score the file into another."""
    return lambda: score_file(scorer, source, source.with_suffix(".scored.jsonl"), processes=processes)


def command(bundle: Path, source: Path, processes: int) -> Callable[[], object]:
    """The same by `potstill score`, its own start included."""
    target = source.with_suffix(".scored.jsonl")
    call = ["score", str(bundle), str(source), "-o", str(target), "--processes", str(processes)]
    return lambda: subprocess.run([sys.executable, "-c", "from potstill.cli import main; main()", *call], check=True)


def tfidf_bundle(folder: Path, recipe: TfidfRecipe, rows: Examples, filter_: Filter) -> Bundle:
    """A bundle of a TF-IDF student."""
    return student_bundle(folder, fit_tfidf(recipe, rows), rows, filter_)


def student_bundle(
    folder: Path, student: AnyStudent, rows: Examples, filter_: Filter, encoders: Sequence[EncoderFiles] = ()
) -> Bundle:
    """A bundle of a cheap student, calibrated on a few of its rows."""
    few = rows.take(np.arange(200))
    calibration = fit_calibration(student.predict(few.frame), few.scores, few.clusters, dimensions=rows.dimensions)
    return write_bundle(
        folder,
        student=student,
        recipe="cheap",
        filter_=filter_,
        calibration=calibration,
        golden=[*TEXTS, *word_lists(rows.texts, seed=0)],
        encoders=encoders,
    )


def sklearn_work(source: Path, rows: Examples, recipe: TfidfRecipe) -> Callable[[], object]:
    """Read the file, vectorize, predict, write: with scikit-learn, as its documentation does it."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline, make_union

    common = {"sublinear_tf": True, "min_df": recipe.min_documents, "max_features": recipe.max_features}
    parts = [TfidfVectorizer(ngram_range=recipe.words, **common)]
    if recipe.characters is not None:
        parts.append(TfidfVectorizer(analyzer="char", ngram_range=recipe.characters, **common))
    model = make_pipeline(make_union(*parts), Ridge(alpha=10.0))
    model.fit(rows.texts, np.nan_to_num(rows.scores))

    def work() -> None:
        with source.open(encoding="utf-8") as stream:
            lines = [json.loads(line) for line in stream]
        scores = model.predict([line["content"] for line in lines])
        with source.with_suffix(".sk.jsonl").open("w", encoding="utf-8") as stream:
            for line, row in zip(lines, scores.tolist(), strict=True):
                stream.write(json.dumps({"id": line["id"], "scores": row}) + "\n")

    return work


def start(scratch: Path, bundle: Path) -> dict[str, Any]:
    """From the start of a process to the first score of the larger bundle; the best of three."""
    source = scratch / "one.jsonl"
    source.write_text('{"content": "A library opens by the river."}\n')
    runs = [measure_fresh(bundle, source) for _ in range(3)]
    best = min(runs, key=lambda one: one.first_score_seconds)
    print(best, flush=True)
    return best.model_dump()


if __name__ == "__main__":
    sys.exit(main())

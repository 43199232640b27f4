"""`potstill evaluate`: a run's ladder, a bundle on new articles, a file of predictions, or a history, judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.asking import AnswerTokens, Asking, BaseUrl, KeyVariable, PriceIn, PriceOut, Prices, print_plan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from potstill.evaluation.records import (
        Evaluation,
        Figures,
        FileEvaluation,
        FreshEvaluation,
        HistoryEvaluation,
        Judgement,
        Rung,
        Tiers,
    )
    from potstill.records import Interval


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="evaluate")(evaluate)


def evaluate(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="A run with a bundle; with --oracle, a bundle folder also works."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Evaluate this file of predictions and labels instead of a run (.json, .jsonl or .parquet)."),
    ] = None,
    filter_name: Annotated[
        str | None,
        typer.Option("--filter", help="Filter for --predictions: a folder or the name of a built-in filter."),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(help="Check this training history for problems: a JSON file or a student's folder."),
    ] = None,
    metadata: Annotated[Path | None, typer.Option(help="JSON file with more facts for --history.")] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of cross-validation folds over all labelled rows, for cheap students; 0 for none. "
            "Default: 10 for up to 1,500 rows, none above.",
        ),
    ] = None,
    oracle: Annotated[
        str | None,
        typer.Option(help="Evaluate the bundle on new articles labelled by this oracle, given as in potstill label."),
    ] = None,
    articles: Annotated[str | None, typer.Option(help="File of new articles for --oracle.")] = None,
    sample: Annotated[
        int, typer.Option(min=10, help="Number of articles, chosen at random, that the oracle labels.")
    ] = 100,
    samples: Annotated[
        int, typer.Option(help="Answers per article. At least 2 are needed to estimate the noise floor.")
    ] = 1,
    plan: Annotated[
        bool, typer.Option("--plan", help="With --oracle: estimate calls, cost and time; ask nothing.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the results and labels of --oracle. Default: RUN/fresh."),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="File for the labels of --oracle. Default: ledger.sqlite in the folder of --out."),
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="Maximum cost of --oracle, in US dollars, over all sessions.")
    ] = None,
    max_calls: Annotated[int | None, typer.Option(help="Maximum calls for --oracle, over all sessions.")] = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    prices: Prices = None,
    base_url: BaseUrl = None,
    api_key_env: KeyVariable = None,
    max_tokens: AnswerTokens = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Random seed for folds, bootstrap and sampling.")] = 0,
    resamples: Annotated[
        int,
        typer.Option(min=10, help="Number of bootstrap resamples; clusters of near-duplicates are resampled together."),
    ] = 1000,
    timed: Annotated[bool, typer.Option("--time/--no-time", help="Measure latency and throughput.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the full record as JSON.")] = False,
) -> None:
    """Evaluate a run, a bundle, a file of predictions or a training history, compared with baselines."""
    from potstill.errors import BadInput
    from potstill.labelling import Limits, Repeats
    from potstill.oracle import Settings

    if sum(one is not None for one in (run, predictions, history)) != 1:
        raise BadInput("give one thing to evaluate: a run, a bundle, --predictions FILE or --history FILE")
    if metadata is not None and history is None:
        raise BadInput("--metadata goes with --history")
    _refuse_without_oracle(oracle, articles, out, ledger, max_cost, max_calls, plan or None)
    if oracle is not None:
        if run is None or filter_name is not None:
            raise BadInput("--oracle goes with a bundle or a run, and asks with the bundle's own filter")
        Repeats(samples)  # refuses a number that is none before anything is opened
        limits = Limits(max_cost=max_cost, max_calls=max_calls, max_tokens=max_tokens)
        settings = Settings(base_url=base_url, api_key_env=api_key_env)
        asking = Asking(oracle, settings, limits, price_in, price_out, prices)
        _fresh(run, articles, sample, asking, samples, out, ledger, seed, resamples, plan=plan, as_json=as_json)
    elif history is not None:
        _history(history, metadata, as_json=as_json)
    elif predictions is not None:
        _predictions(predictions, filter_name, seed, resamples, as_json=as_json)
    elif run is not None:
        if filter_name is not None:
            raise BadInput("--filter goes with --predictions; a run has its own filter")
        _run(run, folds, seed, resamples, timed=timed, as_json=as_json)


def _run(run: Path, folds: int | None, seed: int, resamples: int, *, timed: bool, as_json: bool) -> None:
    from potstill.pipeline.evaluate import evaluate_run
    from potstill.pipeline.run import Run

    evaluation = evaluate_run(Run.open(run), k=folds, seed=seed, resamples=resamples, timed=timed)
    print(evaluation.model_dump_json(indent=2) if as_json else "\n".join(described(evaluation)))


def _refuse_without_oracle(oracle: str | None, *others: object) -> None:
    from potstill.errors import BadInput

    if oracle is None and any(one is not None for one in others):
        raise BadInput("--articles, --out, --ledger, --plan, --max-cost and --max-calls go with --oracle")


def _fresh(
    place: Path,
    articles: str | None,
    n: int,
    asking: Asking,
    samples: int,
    out: Path | None,
    ledger: Path | None,
    seed: int,
    resamples: int,
    *,
    plan: bool,
    as_json: bool,
) -> None:
    from potstill.errors import BadInput
    from potstill.evaluation.records import Bootstrap
    from potstill.interrupts import on_interrupt
    from potstill.pipeline.fresh import prepare

    if articles is None:
        raise BadInput("--oracle needs --articles FILE: new articles to label")
    check = prepare(place, articles, n, seed=seed, folder=out, ledger=ledger, keeps=not plan)
    if plan:
        drawn, filter_ = check.sample.articles, check.scorer.bundle.filter
        print_plan(asking.plan([drawn], filter_, check.ledger, samples), asking.known, as_json=as_json)
        return
    on_interrupt("bought answers are kept; run the same command to resume")
    bootstrap = Bootstrap(resamples=resamples, level=0.95, seed=seed)
    found = check.carry_out(
        asking.opened(), samples=samples, limits=asking.limits, price=asking.price, bootstrap=bootstrap
    )
    print(found.model_dump_json(indent=2) if as_json else "\n".join(described_fresh(found)))


def _predictions(path: Path, filter_name: str | None, seed: int, resamples: int, *, as_json: bool) -> None:
    from potstill.errors import BadInput
    from potstill.evaluation.records import Bootstrap
    from potstill.filters import load_filter
    from potstill.pipeline.predictions import evaluate_file

    if filter_name is None:
        raise BadInput("--predictions needs --filter: weights, gates and tiers are not in the file")
    bootstrap = Bootstrap(resamples=resamples, level=0.95, seed=seed)
    found = evaluate_file(path, load_filter(filter_name), bootstrap)
    print(found.model_dump_json(indent=2) if as_json else "\n".join(described_file(found)))


def _history(path: Path, metadata: Path | None, *, as_json: bool) -> None:
    from potstill.evaluation.flags import evaluate_history

    found = evaluate_history(path, metadata)
    print(found.model_dump_json(indent=2) if as_json else "\n".join(described_history(found)))


def described_history(found: HistoryEvaluation) -> list[str]:
    """The printed lines: the plateau, then every flag, or that there is none."""
    training = found.training
    lines = [f"{training.epochs} epochs, epoch {training.best_epoch or '?'} kept; gap {_number(training.gap)}"]
    if training.plateau is not None:
        slope, ends = training.plateau.slope, training.plateau.interval
        lines.append(
            f"validation MAE changed by {slope:+.4f} per epoch over the last {training.plateau.epochs} "
            f"({ends.low:+.4f} to {ends.high:+.4f})"
        )
    if found.unread:
        lines.append(f"fields ignored: {', '.join(found.unread)}")
    said = [f"- {flag.rule}: {flag.text}" for flag in training.flags]
    return [*lines, "", *(said or ["no problems found in the recorded values"])]


def described_fresh(found: FreshEvaluation) -> list[str]:
    """The lines for a person: what was asked, a table of dimensions, tiers, then the verdicts."""
    from potstill.labelling.limits import money

    asked, tiers = found.asked, found.judgement.tiers
    left = "".join(f", {count:,} {reason}" for reason, count in asked.left_out.items())
    cost = "" if asked.cost is None else f", cost {money(asked.cost, 6)}"
    bought = f"{asked.bought:,} bought, {asked.already:,} already in the ledger"
    each = "" if asked.samples == 1 else f", {asked.samples} answers each"
    lines = [
        f"{asked.drawn:,} of {asked.articles:,} articles drawn{left}{each}",
        f"{asked.labelled:,} labels by {asked.oracle}: {bought}; {asked.calls:,} calls{cost}",
        "",
        *_table(found.judgement),
    ]
    if tiers.accuracy is not None:
        lines.append(
            f"same tier as the oracle: {tiers.accuracy:.0%} ({_shares(tiers.accuracy_interval)}); {_majority(tiers)}"
        )
    held = [f"{name} {share:.0%}" for name, share in found.coverage.items() if share is not None]
    lines.append(f"coverage of the {found.interval_level:.0%} intervals: {', '.join(held)}")
    return [*lines, "", *(f"- {finding.text}" for finding in found.findings)]


def _shares(interval: Interval | None) -> str:
    return "no interval" if interval is None else f"{interval.low:.0%} to {interval.high:.0%}"


def _majority(tiers: Tiers) -> str:
    return "" if tiers.majority is None else f"always predicting {tiers.majority_tier}: {tiers.majority:.0%}"


def described_file(found: FileEvaluation) -> list[str]:
    """The lines for a person: a table of dimensions, then the verdicts."""
    return [*_table(found.judgement), "", *(f"- {finding.text}" for finding in found.findings)]


def _table(judged: Judgement) -> list[str]:
    """A line per dimension, for their mean and for the overall, and one for the ranking."""
    head = ("dimension", "rows", "MAE", "interval", "constant", "skill", "RMSE", "bias", "Spearman", "Kendall")
    rows = [head]
    columns = {**judged.dimensions, "mean": judged.mean, "weighted overall": judged.overall}
    for name, figures in columns.items():
        rows.append(
            (
                name,
                f"{figures.rows:,}",
                _number(figures.mae),
                _ends(figures.mae_interval),
                _number(figures.constant_mae),
                "-" if figures.skill is None else f"{figures.skill:.0%}",
                _number(figures.rmse),
                _number(figures.bias),
                _number(figures.spearman),
                _number(figures.kendall),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [_line(row, widths) for row in rows]
    if judged.ranking is not None:
        ranking = judged.ranking
        lines.append(
            f"average precision {_number(ranking.average_precision)} (random order {_number(ranking.by_chance)}); "
            + ", ".join(f"recall@{at.k} {_number(at.recall)}, NDCG@{at.k} {_number(at.ndcg)}" for at in ranking.at)
        )
    return lines


def described(evaluation: Evaluation) -> list[str]:
    """The lines that the command prints for a person: the ladder, then the verdicts."""
    from potstill.machine import remark

    head = ("model", "evaluated on", "MAE", "interval", "constant", "skill", "Spearman", "ms", "articles/s")
    shipped = evaluation.shipped.rung if evaluation.shipped is not None else None
    rows = [head, *(_rung(rung, shipped=rung.name == shipped) for rung in evaluation.ladder)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [_line(row, widths) for row in rows]
    lines += remark(rung.latency.load for rung in evaluation.ladder if rung.latency is not None)
    if evaluation.floor is not None:
        lines.append(
            f"noise floor {evaluation.floor.mean_floor:.3f} (repeat difference {evaluation.floor.mean_difference:.3f})"
        )
    return [*lines, "", *(f"- {finding.text}" for finding in evaluation.findings)]


def _rung(rung: Rung, *, shipped: bool) -> tuple[str, ...]:
    from potstill.machine import marked

    name = f"{rung.name} *" if shipped else rung.name
    if rung.headline is None:
        return name, "not evaluated", *[""] * 7
    judged = rung.judgements[rung.headline]
    figures: Figures = judged.mean
    cost = rung.latency
    return (
        name,
        f"{judged.source}, {judged.rows} rows",
        _number(figures.mae),
        _ends(figures.mae_interval),
        _number(figures.constant_mae),
        "-" if figures.skill is None else f"{figures.skill:.0%}",
        _number(figures.spearman),
        "-" if cost is None else marked(f"{cost.milliseconds_p50:.1f}", cost.load),
        "-" if cost is None else marked(f"{cost.articles_per_second:,.0f}", cost.load),
    )


def _line(row: Iterable[str], widths: list[int]) -> str:
    cells = [
        cell.ljust(width) if i < 2 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _ends(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.low:.3f}-{interval.high:.3f}"

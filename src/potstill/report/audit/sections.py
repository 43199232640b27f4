"""What an audit's page says, section by section: each turns the record into blocks and works nothing out.

In: the record of an audit. Out: a `Document`. A part that the audit had to leave out says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.report.audit import charts
from potstill.report.blocks import Column, Document, Figure, Findings, Paragraph, Row, Section, Table, Tile, Tiles
from potstill.report.sections.parts import DASH, interval, show, spaced, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from potstill.report.blocks import Block, Kind, Text
    from potstill.report.facts import Record
    from potstill.report.sections.parts import Path


def compose(audit: Record) -> Document:
    """The whole page."""
    return Document(
        title=f"Labels of {words(audit, 'filter') or 'a filter'}",
        kicker="potstill \N{MIDDLE DOT} audit",
        lead=(
            "What ",
            show(audit, "count", "rows"),
            " labels by ",
            show(audit, "text", "oracle"),
            " are worth, before a student learns from them.",
        ),
        sections=tuple(section(audit) for section in SECTIONS),
    )


def summary(audit: Record) -> Section:
    """Key figures and verdicts."""
    tiles = (
        Tile("Labelled", show(audit, "count", "rows"), (show(audit, "count", "clusters"), " different articles")),
        Tile(
            "Repeat difference",
            show(audit, "score", "repeats", "mean_difference", absent="unknown"),
            (
                "two answers about one article; ",
                *interval(audit, "score", "repeats", "mean_difference_interval", absent="unknown"),
            ),
        ),
        Tile(
            "Floor",
            show(audit, "score", "repeats", "mean_floor", absent="unknown"),
            (
                "error of a perfect student; labels are means of ",
                show(audit, "plain", "repeats", "samples", absent="1"),
            ),
        ),
        Tile(
            "Signal",
            show(audit, "percent", "repeats", "mean_signal", absent="unknown"),
            ("of the labels' variance is not the oracle's noise",),
        ),
        Tile(
            "Effective dimensions",
            show(audit, "rate", "redundancy", "effective", absent="unknown"),
            ("interval ", *interval(audit, "rate", "redundancy", "effective_interval", absent="unknown")),
        ),
        Tile("Advice", show(audit, "text", "curve", "advice", absent="unknown"), ("by the learning curve",)),
    )
    verdicts = tuple(
        Paragraph((show(audit, "text", "findings", place, "text"),), words(audit, "findings", place, "tone"))
        for place in range(audit.size("findings"))
    )
    return Section("summary", "Summary", (Tiles(tiles), Findings(verdicts)))


def scores(audit: Record) -> Section:
    """The use of the scale."""
    rows = charts.prepare_histograms(audit)
    figure = Figure(
        "histograms",
        "Labels along the scale",
        "For each dimension, the share of its labels in each tenth of the scale; darker is fuller.",
        rows,
        charts.plot_histograms,
        (audit.file,),
    )
    kinds: tuple[tuple[str, str, Kind], ...] = (
        ("Rows", "rows", "count"),
        ("Mean", "mean", "score"),
        ("Median", "median", "score"),
        ("Spread (sd)", "sd", "score"),
        ("Scale used", "used", "percent"),
        ("At floor", "at_floor", "percent"),
        ("At ceiling", "at_ceiling", "percent"),
        ("Values", "levels", "count"),
        ("A constant's error", "constant_mae", "score"),
    )
    table = _table(
        "Labels by dimension",
        ("Dimension", *(head for head, _, _ in kinds)),
        [
            (
                (_name(audit, *at, "dimension"),),
                *((show(audit, kind, *at, field, absent=DASH),) for _, field, kind in kinds),
            )
            for at in _places(audit, "scores", "dimensions")
        ],
    )
    groups = [_groups(audit, field, title) for field, title in (("by_source", "source"), ("by_language", "language"))]
    return Section("scores", "Use of the scale", (figure, table, *(group for group in groups if group is not None)))


def repeats(audit: Record) -> Section:
    """The oracle against itself."""
    if not audit.at("repeats").recorded:
        return Section("repeats", "The oracle against itself", (_skipped(audit, "repeats"),))
    text: Text = (
        show(audit, "count", "repeats", "articles"),
        " of ",
        show(audit, "count", "repeats", "rows"),
        " articles have more than one answer. Two answers about one article differ by ",
        show(audit, "score", "repeats", "mean_difference"),
        "; labels are means of ",
        show(audit, "plain", "repeats", "samples"),
        " answers, so a perfect student would still be off by ",
        show(audit, "score", "repeats", "mean_floor"),
        " (d / \N{SQUARE ROOT}2K).",
    )
    places = [*_places(audit, "repeats", "dimensions"), ("repeats", "overall")]
    table = _table(
        "Two answers about one article",
        ("Dimension", "Difference", "Interval", "Floor", "Interval", "Noise (sd)", "Signal", "Interval"),
        [
            (
                (_name(audit, *at, "dimension"),),
                (show(audit, "score", *at, "difference", absent=DASH),),
                interval(audit, "score", *at, "difference_interval", absent=DASH),
                (show(audit, "score", *at, "floor", absent=DASH),),
                interval(audit, "score", *at, "floor_interval", absent=DASH),
                (show(audit, "score", *at, "noise_sd", absent=DASH),),
                (show(audit, "percent", *at, "signal", absent=DASH),),
                interval(audit, "percent", *at, "signal_interval", absent=DASH),
            )
            for at in places
        ],
    )
    reminder = (
        "Repeats of one prompt show what changes from answer to answer, and no bias that all answers share: only "
        "another oracle or a person can find that."
    )
    return Section("repeats", "The oracle against itself", (Paragraph(text), Paragraph((reminder,), "neutral"), table))


def redundancy(audit: Record) -> Section:
    """How many things the dimensions measure."""
    if not audit.at("redundancy").recorded:
        return Section("redundancy", "Redundancy of dimensions", (_skipped(audit, "redundancy"),))
    text: Text = (
        "The dimensions measure about ",
        show(audit, "rate", "redundancy", "effective"),
        " different things (interval ",
        *interval(audit, "rate", "redundancy", "effective_interval"),
        "; with the oracle's own noise taken out ",
        show(audit, "rate", "redundancy", "without_noise", absent="unknown"),
        "). ",
        show(audit, "text", "redundancy", "rule"),
    )
    figure = Figure(
        "correlations",
        "Correlations of labels",
        "A square of colours: the correlation of every two dimensions.",
        charts.prepare_correlations(audit),
        charts.plot_correlations,
        (audit.file,),
    )
    names = audit.at("redundancy", "dimensions").value or []
    components = _table(
        "Principal components",
        ("Component", "Share", *(spaced(name) for name in names)),
        [
            (
                (f"{place + 1}",),
                (show(audit, "percent", *at, "share"),),
                *((show(audit, "signed", *at, "loadings", name),) for name in names),
            )
            for place, at in enumerate(_places(audit, "redundancy", "components"))
        ],
        folded=True,
    )
    return Section("redundancy", "Redundancy of dimensions", (Paragraph(text), figure, components))


def oracles(audit: Record) -> Section:
    """Several oracles side by side."""
    pairs = _places(audit, "pairs")
    if not pairs:
        return Section(
            "oracles", "Oracles side by side", (Paragraph(("No two oracles have scored the same article.",)),)
        )
    table = _table(
        "Every two oracles; bias is the first's scores less the second's",
        (
            "Pair",
            "Articles",
            "Difference",
            "Interval",
            "Bias",
            "Interval",
            "Same tier",
            "Kappa",
            "Positive: first",
            "second",
            "both",
        ),
        [
            (
                (show(audit, "text", *at, "first"), " and ", show(audit, "text", *at, "second")),
                (show(audit, "count", *at, "rows"),),
                (show(audit, "score", *at, "mean_difference", absent=DASH),),
                interval(audit, "score", *at, "mean_difference_interval", absent=DASH),
                (show(audit, "signed", *at, "mean_bias", absent=DASH),),
                interval(audit, "signed", *at, "mean_bias_interval", absent=DASH),
                (show(audit, "percent", *at, "tiers", "same", absent=DASH),),
                (show(audit, "score", *at, "tiers", "kappa", absent=DASH),),
                *(
                    (show(audit, "count", *at, "tiers", f"positive_{who}", absent=DASH),)
                    for who in ("first", "second", "both")
                ),
            )
            for at in pairs
        ],
    )
    by_dimension = [
        _table(
            f"{words(audit, *at, 'first')} and {words(audit, *at, 'second')}, by dimension",
            ("Dimension", "Articles", "Difference", "Interval", "Bias", "Interval", "Spearman"),
            [
                (
                    (_name(audit, *each, "dimension"),),
                    (show(audit, "count", *each, "rows"),),
                    (show(audit, "score", *each, "difference", absent=DASH),),
                    interval(audit, "score", *each, "difference_interval", absent=DASH),
                    (show(audit, "signed", *each, "bias", absent=DASH),),
                    interval(audit, "signed", *each, "bias_interval", absent=DASH),
                    (show(audit, "score", *each, "spearman", absent=DASH),),
                )
                for each in (*_places(audit, *at, "dimensions"), (*at, "overall"))
            ],
            folded=True,
        )
        for at in pairs
    ]
    return Section("oracles", "Oracles side by side", (table, *by_dimension))


def curve(audit: Record) -> Section:
    """More labels, a better prompt, or stop."""
    if not audit.at("curve").recorded:
        return Section("curve", "Learning curve", (_skipped(audit, "curve"),))
    text: Text = (
        "Advice: ",
        show(audit, "text", "curve", "advice"),
        ". ",
        show(audit, "text", "curve", "reason"),
        ". The next 1,000 labels would take ",
        show(audit, "score", "curve", "gain"),
        " off (interval ",
        *interval(audit, "score", "curve", "gain_interval"),
        "). Measured with ",
        show(audit, "text", "curve", "student"),
        " on ",
        show(audit, "count", "curve", "held_out"),
        " held-out rows a seed; a dearer student has a lower curve of a like shape.",
    )
    figure = Figure(
        "curve",
        "Error by number of labels",
        "Points of a cheap student's error by labels learned, a fitted curve, and what more labels may bring.",
        charts.prepare_curve(audit),
        charts.plot_curve,
        (audit.file,),
    )
    table = _table(
        "Measured, and expected by the fit",
        ("Labels", "Error", "Interval"),
        [
            ((show(audit, "count", *at, "rows"),), (show(audit, "score", *at, "mae"),), ("mean of the seeds",))
            for at in _places(audit, "curve", "points")
        ]
        + [
            (
                (show(audit, "count", "curve", name, "rows"), " (expected)"),
                (show(audit, "score", "curve", name, "mae"),),
                interval(audit, "score", "curve", name, "interval"),
            )
            for name in ("now", "more", "twice")
        ],
        folded=True,
    )
    rule = Paragraph((show(audit, "text", "curve", "rule"),))
    return Section("curve", "Learning curve", (Paragraph(text, "neutral"), figure, table, rule))


def baselines(audit: Record) -> Section:
    """What labels can be had for without reading."""
    if not audit.at("baselines").recorded:
        return Section("baselines", "Without reading", (_skipped(audit, "baselines"),))
    text: Text = (
        "Errors over rows that each student had not seen. Knowing only an article's source removes ",
        show(audit, "percent", "baselines", "source_gain", absent="an unknown share"),
        " of a constant's error (interval ",
        *interval(audit, "percent", "baselines", "source_gain_interval", absent="unknown"),
        ").",
    )
    table = _table(
        "Cheap students, out of fold",
        ("Student", "Error", "Interval"),
        [
            (
                (show(audit, "text", *at, "name"),),
                (show(audit, "score", *at, "mae", absent=DASH),),
                interval(audit, "score", *at, "interval", absent=DASH),
            )
            for at in _places(audit, "baselines", "rungs")
        ],
    )
    return Section("baselines", "Without reading", (Paragraph(text), table))


def suspects(audit: Record) -> Section:
    """Labels worth a second look."""
    if not audit.at("suspects").recorded:
        return Section("suspects", "Suspect labels", (_skipped(audit, "suspects"),))
    text: Text = (
        "Rows whose labels are furthest from what ",
        show(audit, "text", "suspects", "student"),
        ", which had not seen them, expects; its error over all rows is ",
        show(audit, "score", "suspects", "mae"),
        ", a constant's ",
        show(audit, "score", "suspects", "constant_mae"),
        ". A suspicion of 1 is an ordinary row. Many are right, and hard: look before correcting.",
    )
    columns = (
        Column("Article", numeric=False, wraps=True),
        Column("Suspicion"),
        Column("Furthest off", numeric=False),
        Column("Label"),
        Column("Expected"),
        Column("The oracle's evidence", numeric=False, wraps=True),
        Column("Text", numeric=False, wraps=True),
    )
    rows = []
    for at in _places(audit, "suspects", "items"):
        worst = str(audit.at(*at, "worst").value)
        title = show(audit, "text", *at, "title") if words(audit, *at, "title") else show(audit, "text", *at, "id")
        rows.append(
            Row(
                (
                    (title,),
                    (show(audit, "score", *at, "suspicion"),),
                    (spaced(worst),),
                    (show(audit, "score", *at, "labels", worst, absent=DASH),),
                    (show(audit, "score", *at, "expected", worst),),
                    (show(audit, "text", *at, "evidence"),),
                    (show(audit, "text", *at, "text"),),
                )
            )
        )
    table = Table("The most suspect labels, the worst first", columns, tuple(rows))
    return Section("suspects", "Suspect labels", (Paragraph(text), table))


def prefilter(audit: Record) -> Section:
    """What the prefilter drops, and what of it should be kept."""
    if not audit.at("prefilter").recorded:
        return Section("prefilter", "What the prefilter drops", (_skipped(audit, "prefilter"),))
    text: Text = (
        "The prefilter drops ",
        show(audit, "count", "prefilter", "dropped"),
        " of ",
        show(audit, "count", "prefilter", "articles"),
        (
            " articles. A dropped one is missed when the oracle's scores put it in a positive tier; intervals are "
            "exact (Clopper and Pearson)."
        ),
    )
    lines = [
        ("all", ("prefilter", "all")),
        *(
            (kind, at)
            for kind, field in (("rule", "by_rule"), ("language", "by_language"), ("source", "by_source"))
            for at in _places(audit, "prefilter", field)
        ),
    ]
    table = _table(
        "Dropped articles that the oracle judged",
        ("By", "What", "Dropped", "Judged", "Missed", "Rate", "Interval"),
        [
            (
                (kind,),
                (show(audit, "text", *at, "name"),),
                *((show(audit, "count", *at, field),) for field in ("dropped", "judged", "missed")),
                (show(audit, "percent", *at, "rate", absent=DASH),),
                interval(audit, "percent", *at, "interval", absent=DASH),
            )
            for kind, at in lines
        ],
        texts=2,
    )
    missed = _table(
        "Missed articles, the highest first",
        ("Article", "Dropped for", "Tier", "Overall"),
        [
            (
                (show(audit, "text", *at, "title"),),
                (show(audit, "text", *at, "reason"),),
                (show(audit, "text", *at, "tier"),),
                (show(audit, "score", *at, "overall", absent=DASH),),
            )
            for at in _places(audit, "prefilter", "items")
        ],
        texts=3,
        folded=True,
    )
    return Section("prefilter", "What the prefilter drops", (Paragraph(text), table, missed))


def texts(audit: Record) -> Section:
    """Duplicates, boilerplate and truncation."""
    if not audit.at("truncation").recorded:
        return Section("texts", "Texts", (_skipped(audit, "truncation"),))
    copies: Text = (
        show(audit, "count", "duplicates", "rows"),
        " rows are near-duplicates of others, in ",
        show(audit, "count", "duplicates", "clusters"),
        " clusters (the largest has ",
        show(audit, "count", "duplicates", "largest"),
        "); ",
        show(audit, "count", "duplicates", "same_text"),
        " have the very text of an earlier one. Labels of a pair differ by ",
        show(audit, "score", "duplicates", "difference", absent="an unknown amount"),
        ".",
    )
    cut: Text = (
        "The window of ",
        show(audit, "count", "truncation", "max_chars"),
        " characters cuts ",
        show(audit, "count", "truncation", "cut"),
        " of ",
        show(audit, "count", "truncation", "rows"),
        " articles; half of those lose at least ",
        show(audit, "percent", "truncation", "lost", absent="nothing"),
        " of their text. High scorers (",
        show(audit, "text", "truncation", "high"),
        ") are cut in ",
        show(audit, "percent", "truncation", "high_cut_share", absent=DASH),
        " of cases, others in ",
        show(audit, "percent", "truncation", "other_cut_share", absent=DASH),
        " (difference ",
        show(audit, "percent", "truncation", "difference", absent=DASH),
        ", interval ",
        *interval(audit, "percent", "truncation", "difference_interval", absent=DASH),
        "). ",
        show(audit, "count", "truncation", "open_ended"),
        " texts were cut short before they came here.",
    )
    apart = _table(
        "Near-duplicates whose labels differ most",
        ("Article", "First", "Second", "Likeness", "Difference"),
        [
            (
                *((show(audit, "text", *at, field),) for field in ("title", "first", "second")),
                (show(audit, "score", *at, "jaccard"),),
                (show(audit, "score", *at, "difference"),),
            )
            for at in _places(audit, "duplicates", "apart")
        ],
        texts=3,
        folded=True,
    )
    known = _table(
        "Known boilerplate",
        ("Kind", "Rows", "Share", "Overall", "Overall of others", "Sources"),
        [
            (
                (show(audit, "text", *at, "kind"),),
                (show(audit, "count", *at, "rows"),),
                (show(audit, "percent", *at, "share"),),
                (show(audit, "score", *at, "overall", absent=DASH),),
                (show(audit, "score", *at, "overall_without", absent=DASH),),
                (show(audit, "text", *at, "sources"),),
            )
            for at in _places(audit, "boilerplate", "declared")
        ],
    )
    repeated = Table(
        "Phrases that a source repeats",
        (
            Column("Source", numeric=False),
            Column("Articles"),
            Column("Share"),
            Column("Phrase", numeric=False, wraps=True),
        ),
        tuple(
            Row(
                (
                    (show(audit, "text", *at, "source"),),
                    (show(audit, "count", *at, "articles"),),
                    (show(audit, "percent", *at, "share"),),
                    (show(audit, "text", *at, "phrase"),),
                )
            )
            for at in _places(audit, "boilerplate", "repeated")
        ),
    )
    blocks: list[Block] = [Paragraph(copies), Paragraph(cut)]
    blocks += [table for table in (apart, known, repeated) if table.rows]
    return Section("texts", "Duplicates, boilerplate, truncation", tuple(blocks))


SECTIONS = (summary, curve, repeats, redundancy, scores, oracles, baselines, suspects, prefilter, texts)
"""The page, in reading order."""


def _places(audit: Record, *path: str | int) -> list[Path]:
    """The paths of a list's items."""
    return [(*path, place) for place in range(audit.size(*path))]


def _name(audit: Record, *path: str | int) -> str:
    return spaced(str(audit.at(*path).value))


def _skipped(audit: Record, part: str) -> Paragraph:
    return Paragraph(("Left out: ", show(audit, "text", "skipped", part), "."))


def _table(
    caption: str, head: Sequence[str], rows: Sequence[tuple[Text, ...]], *, texts: int = 1, folded: bool = False
) -> Table:
    """A table whose first `texts` columns are words."""
    columns = tuple(Column(label, numeric=place >= texts) for place, label in enumerate(head))
    return Table(caption, columns, tuple(map(Row, rows)), folded)


def _groups(audit: Record, field: str, title: str) -> Table | None:
    places = _places(audit, "scores", field)
    if not places:
        return None
    names = [*(audit.at("dimensions").value or []), "overall"]
    return _table(
        f"Mean label by {title}",
        (title.capitalize(), "Rows", *(spaced(name) for name in names)),
        [
            (
                (show(audit, "text", *at, "name"),),
                (show(audit, "count", *at, "rows"),),
                *((show(audit, "score", *at, "mean", name, absent=DASH),) for name in names),
            )
            for at in places
        ],
        folded=True,
    )

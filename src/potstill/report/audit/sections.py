"""The sections of an audit's page: each turns the record into blocks and computes nothing.

In: the record of an audit. Out: a `Document`. A part that the audit left out says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from potstill.report.audit import charts
from potstill.report.audit.parts import filled, places, table
from potstill.report.blocks import Document, Figure, Findings, Paragraph, Section, Tile, Tiles
from potstill.report.sections.parts import DASH, show, spaced, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from potstill.report.blocks import Block, Kind
    from potstill.report.facts import Record


def compose(audit: Record) -> Document:
    """The whole page."""
    return Document(
        title=f"Labels of {words(audit, 'filter') or 'a filter'}",
        kicker="potstill \N{MIDDLE DOT} audit",
        lead=filled(
            audit, "The quality of {count rows} labels by {text oracle}, checked before a student is trained on them."
        ),
        sections=tuple(_section(audit, part) for part in PARTS),
    )


def summary(audit: Record) -> Iterator[Block]:
    """Key figures and findings."""
    yield Tiles(
        (
            _tile(audit, "Labelled", ("count", "rows"), "{count clusters} different articles"),
            _tile(
                audit,
                "Repeat difference",
                ("score", "repeats/mean_difference"),
                "between two answers about one article; interval {score.. repeats/mean_difference_interval|unknown}",
            ),
            _tile(
                audit,
                "Noise floor",
                ("score", "repeats/mean_floor"),
                "error of a perfect student; answers averaged per label: {plain repeats/samples|1}",
            ),
            _tile(
                audit,
                "Signal",
                ("percent", "repeats/mean_signal"),
                "share of the labels' variance that is not the oracle's noise",
            ),
            _tile(
                audit,
                "Effective dimensions",
                ("rate", "redundancy/effective"),
                "interval {rate.. redundancy/effective_interval|unknown}",
            ),
            _tile(audit, "Advice", ("text", "curve/advice"), "from the learning curve"),
        )
    )
    yield Findings(
        tuple(
            Paragraph(filled(audit, "{text text}", at), words(audit, *at, "tone")) for at in places(audit, "findings")
        )
    )


def _tile(audit: Record, label: str, value: tuple[Kind, str], note: str) -> Tile:
    kind, path = value
    return Tile(label, show(audit, kind, *path.split("/"), absent="unknown"), filled(audit, note))


_USES = (
    ("Mean label", ("score", "mean")),
    ("Spread (sd)", ("score", "sd")),
    ("Scale used", ("percent", "used")),
    ("Share at the minimum", ("percent", "at_floor")),
    ("Share at the maximum", ("percent", "at_ceiling")),
)
"""Tables by source and language: a caption, and a field of a `Spread` with its format."""


def scores(audit: Record) -> Iterator[Block]:
    """How labels use the scale."""
    yield Figure(
        "histograms",
        "Labels along the scale",
        "For each dimension, the share of labels in each tenth of the scale; darker cells have more labels.",
        charts.prepare_histograms(audit),
        charts.plot_histograms,
        (audit.file,),
    )
    yield table(
        audit,
        "Labels by dimension",
        (
            ("Dimension", "{name dimension}"),
            ("Rows", "{count rows}"),
            ("Mean", "{score mean}"),
            ("Median", "{score median}"),
            ("Spread (sd)", "{score sd}"),
            ("Scale used", "{percent used}"),
            ("At minimum", "{percent at_floor}"),
            ("At maximum", "{percent at_ceiling}"),
            ("Different values", "{count levels}"),
            ("Constant's MAE", "{score constant_mae}"),
        ),
        places(audit, "scores", "dimensions"),
    )
    names = [*(audit.at("dimensions").value or []), "overall"]
    for field, title in (("by_source", "source"), ("by_language", "language")):
        groups = places(audit, "scores", field)
        for caption, (kind, what) in _USES if groups else ():
            columns = [(spaced(name), f"{{{kind} dimensions/{name}/{what}}}") for name in names]
            head = ((title.capitalize(), "{text name}"), ("Rows", "{count rows}"))
            yield table(audit, f"{caption} by {title}", (*head, *columns), groups, folded=True)


def repeats(audit: Record) -> Iterator[Block]:
    """Repeated answers of the oracle."""
    yield Paragraph(
        filled(
            audit,
            "{count repeats/articles} of {count repeats/rows} articles have more than one answer. Two answers about "
            "one article differ by {score repeats/mean_difference} on average. Number of answers "
            "averaged per label: {plain repeats/samples}. A perfect student would therefore still have an error of "
            "{score repeats/mean_floor} (d / \N{SQUARE ROOT}2K).",
        )
    )
    reminder = (
        "Repeated answers to one prompt show how much answers vary, but not a bias that all answers share. Only "
        "another oracle or a person can find such a bias."
    )
    yield Paragraph((reminder,), "neutral")
    yield table(
        audit,
        "Differences between two answers about one article",
        (
            ("Dimension", "{name dimension}"),
            ("Difference", "{score difference}"),
            ("Interval", "{score.. difference_interval}"),
            ("Noise floor", "{score floor}"),
            ("Interval", "{score.. floor_interval}"),
            ("Noise (sd)", "{score noise_sd}"),
            ("Signal", "{percent signal}"),
            ("Interval", "{percent.. signal_interval}"),
        ),
        [*places(audit, "repeats", "dimensions"), ("repeats", "overall")],
    )


def redundancy(audit: Record) -> Iterator[Block]:
    """How many different things the dimensions measure."""
    yield Paragraph(
        filled(
            audit,
            "The dimensions measure about {rate redundancy/effective} different things (interval "
            "{rate.. redundancy/effective_interval}; without the oracle's noise: "
            "{rate redundancy/without_noise|unknown}). {text redundancy/rule}",
        )
    )
    yield Figure(
        "correlations",
        "Correlations of labels",
        "A matrix of colours: the correlation of each pair of dimensions.",
        charts.prepare_correlations(audit),
        charts.plot_correlations,
        (audit.file,),
    )
    names = audit.at("redundancy", "dimensions").value or []
    yield table(
        audit,
        "Principal components, largest first",
        (("Share", "{percent share}"), *((spaced(name), f"{{signed loadings/{name}}}") for name in names)),
        places(audit, "redundancy", "components"),
        folded=True,
    )


def oracles(audit: Record) -> Iterator[Block]:
    """Comparison of several oracles."""
    pairs = places(audit, "pairs")
    if not pairs:
        yield Paragraph(("No article was scored by more than one oracle.",))
        return
    yield table(
        audit,
        "Comparison of each pair of oracles; bias is the first oracle's scores minus the second's",
        (
            ("Pair", "{text first} and {text second}"),
            ("Articles", "{count rows}"),
            ("Difference", "{score mean_difference}"),
            ("Interval", "{score.. mean_difference_interval}"),
            ("Bias", "{signed mean_bias}"),
            ("Interval", "{signed.. mean_bias_interval}"),
            ("Same tier", "{percent tiers/same}"),
            ("Kappa", "{score tiers/kappa}"),
            ("Positive (first)", "{count tiers/positive_first}"),
            ("Positive (second)", "{count tiers/positive_second}"),
            ("Positive (both)", "{count tiers/positive_both}"),
        ),
        pairs,
    )
    for at in pairs:
        yield table(
            audit,
            f"{words(audit, *at, 'first')} and {words(audit, *at, 'second')}, by dimension",
            (
                ("Dimension", "{name dimension}"),
                ("Articles", "{count rows}"),
                ("Difference", "{score difference}"),
                ("Interval", "{score.. difference_interval}"),
                ("Bias", "{signed bias}"),
                ("Interval", "{signed.. bias_interval}"),
                ("Spearman", "{score spearman}"),
            ),
            [*places(audit, *at, "dimensions"), (*at, "overall")],
            folded=True,
        )


def curve(audit: Record) -> Iterator[Block]:
    """The learning curve, and whether more labels would help."""
    yield Paragraph(
        filled(
            audit,
            "Advice: {text curve/advice}. {text curve/reason}. The next 1,000 labels would reduce the error by "
            "{score curve/gain} (interval {score.. curve/gain_interval}). Measured with {text curve/student} on "
            "{count curve/held_out} held-out rows per seed; a larger student has a lower curve of similar shape.",
        ),
        "neutral",
    )
    yield Figure(
        "curve",
        "Error by number of labels",
        "The error of a cheap student by number of training labels, a fitted curve, and the expected error with more "
        "labels.",
        charts.prepare_curve(audit),
        charts.plot_curve,
        (audit.file,),
    )
    columns = (("Labels", "{count rows}"), ("MAE", "{score mae}"))
    yield table(audit, "Measured error, mean over seeds", columns, places(audit, "curve", "points"), folded=True)
    yield table(
        audit,
        "Expected error from the fitted curve",
        (*columns, ("Interval", "{score.. interval}")),
        [("curve", name) for name in ("now", "more", "twice")],
        folded=True,
    )
    yield Paragraph(filled(audit, "{text curve/rule}"))


def baselines(audit: Record) -> Iterator[Block]:
    """Students that do not read the text, and other cheap ones."""
    yield Paragraph(
        filled(
            audit,
            "Errors are out-of-fold. A baseline that knows only an article's source removes "
            "{percent baselines/source_gain|an unknown share} of a constant's error (interval "
            "{percent.. baselines/source_gain_interval|unknown}).",
        )
    )
    yield table(
        audit,
        "Out-of-fold errors of cheap students",
        (("Student", "{text name}"), ("MAE", "{score mae}"), ("Interval", "{score.. interval}")),
        places(audit, "baselines", "rungs"),
    )


def suspects(audit: Record) -> Iterator[Block]:
    """Labels that should be checked."""
    yield Paragraph(
        filled(
            audit,
            "Rows whose labels differ most from the out-of-fold predictions of {text suspects/student}. Its MAE over "
            "all rows is {score suspects/mae}, that of a constant {score suspects/constant_mae}. An ordinary row has a "
            "suspicion of 1. Many of these labels are correct but hard to predict: check before correcting.",
        )
    )
    yield table(
        audit,
        "The most suspect labels, worst first",
        (
            ("Id", "{text id}"),
            ("Article", "{text title}"),
            ("Suspicion", "{score suspicion}"),
            ("Dimension", "{name worst}"),
            ("Label", "{score labels/@worst}"),
            ("Predicted", "{score expected/@worst}"),
            ("Oracle's evidence", "{text evidence}"),
            ("Text", "{text text}"),
        ),
        places(audit, "suspects", "items"),
        wraps=("Article", "Oracle's evidence", "Text"),
    )


def prefilter(audit: Record) -> Iterator[Block]:
    """Articles that the prefilter drops, and those that it should have kept."""
    yield Paragraph(
        filled(
            audit,
            "The prefilter drops {count prefilter/dropped} of {count prefilter/articles} articles. A dropped article "
            "is missed if the oracle's scores put it in a positive tier; intervals are exact (Clopper and Pearson).",
        )
    )
    columns = (
        ("Dropped", "{count dropped}"),
        ("Judged", "{count judged}"),
        ("Missed", "{count missed}"),
        ("Miss rate", "{percent rate}"),
        ("Interval", "{percent.. interval}"),
    )
    groups = {
        "Rule": [("prefilter", "all"), *places(audit, "prefilter", "by_rule")],
        "Language": places(audit, "prefilter", "by_language"),
        "Source": places(audit, "prefilter", "by_source"),
    }
    for group, rows in groups.items():
        if rows:
            caption = f"Dropped articles that the oracle judged, by {group.lower()}"
            yield table(audit, caption, ((group, "{text name}"), *columns), rows)
    yield table(
        audit,
        "Missed articles, highest score first",
        (
            ("Article", "{text title}"),
            ("Reason", "{text reason}"),
            ("Tier", "{text tier}"),
            ("Overall", "{score overall}"),
        ),
        places(audit, "prefilter", "items"),
        folded=True,
    )


def texts(audit: Record) -> Iterator[Block]:
    """Duplicates, boilerplate, truncation and markup."""
    yield Paragraph(
        filled(
            audit,
            "{count duplicates/rows} rows are near-duplicates of others, in {count duplicates/clusters} clusters (the "
            "largest has {count duplicates/largest}); {count duplicates/same_text} have exactly the same text as an "
            "earlier row. Labels of a pair differ by {score duplicates/difference|an unknown amount}.",
        )
    )
    yield Paragraph(
        filled(
            audit,
            "The window of {count truncation/max_chars} characters truncates {count truncation/cut} of "
            "{count truncation/rows} articles; half of those lose at least {percent truncation/lost|nothing} of their "
            "text. {percent truncation/high_cut_share} of high-scoring articles ({text truncation/high}) are "
            "truncated, and {percent truncation/other_cut_share} of the others (difference "
            "{percent truncation/difference}, interval {percent.. truncation/difference_interval}). "
            "{count truncation/open_ended} texts were already truncated when they were imported.",
            absent=DASH,
        )
    )
    if audit.at("markup").recorded:
        yield Paragraph(
            filled(
                audit,
                "{count markup/marked} of {count markup/rows} texts contain markup: {count markup/html} HTML tags, "
                "{count markup/entities} entities such as &amp;, {count markup/markdown} Markdown. In half of those, "
                "it takes up at least {percent markup/taken|nothing} of the window. Oracle and student read the "
                "markup; caps and prefilter find their terms despite it.",
            )
        )
    apart = table(
        audit,
        "Near-duplicates whose labels differ most",
        (
            ("Article", "{text title}"),
            ("First", "{text first}"),
            ("Second", "{text second}"),
            ("Similarity (Jaccard)", "{score jaccard}"),
            ("Difference", "{score difference}"),
        ),
        places(audit, "duplicates", "apart"),
        folded=True,
    )
    known = table(
        audit,
        "Known boilerplate",
        (
            ("Kind", "{text kind}"),
            ("Rows", "{count rows}"),
            ("Share", "{percent share}"),
            ("Overall", "{score overall}"),
            ("Overall without it", "{score overall_without}"),
            ("Sources", "{text sources}"),
        ),
        places(audit, "boilerplate", "declared"),
    )
    repeated = table(
        audit,
        "Phrases that a source repeats",
        (
            ("Source", "{text source}"),
            ("Articles", "{count articles}"),
            ("Share", "{percent share}"),
            ("Phrase", "{text phrase}"),
        ),
        places(audit, "boilerplate", "repeated"),
        wraps=("Phrase",),
    )
    yield from (found for found in (apart, known, repeated) if found.rows)


class Part(NamedTuple):
    """A section: its anchor, its title, its blocks, and the field that is null if the audit left it out."""

    id: str
    title: str
    blocks: Callable[[Record], Iterator[Block]]
    field: str | None = None


PARTS = (
    Part("summary", "Summary", summary),
    Part("curve", "Learning curve", curve, "curve"),
    Part("repeats", "Label noise", repeats, "repeats"),
    Part("redundancy", "Redundancy of dimensions", redundancy, "redundancy"),
    Part("scores", "Use of the scale", scores),
    Part("oracles", "Comparison of oracles", oracles),
    Part("baselines", "Baselines", baselines, "baselines"),
    Part("suspects", "Suspect labels", suspects, "suspects"),
    Part("prefilter", "Articles dropped by the prefilter", prefilter, "prefilter"),
    Part("texts", "Duplicates, boilerplate, truncation and markup", texts, "truncation"),
)
"""The page, in reading order."""


def _section(audit: Record, part: Part) -> Section:
    if part.field is not None and not audit.at(part.field).recorded:
        left_out = filled(audit, f"Left out: {{text skipped/{part.field}}}.")
        return Section(part.id, part.title, (Paragraph(left_out),))
    return Section(part.id, part.title, tuple(part.blocks(audit)))

"""What an audit's page says, section by section: each turns the record into blocks and works nothing out.

In: the record of an audit. Out: a `Document`. A part that the audit had to leave out says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from potstill.report.audit import charts
from potstill.report.audit.parts import places, said, table
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
        lead=said(audit, "What {count rows} labels by {text oracle} are worth, before a student learns from them."),
        sections=tuple(_section(audit, part) for part in PARTS),
    )


def summary(audit: Record) -> Iterator[Block]:
    """Key figures and verdicts."""
    yield Tiles(
        (
            _tile(audit, "Labelled", ("count", "rows"), "{count clusters} different articles"),
            _tile(
                audit,
                "Repeat difference",
                ("score", "repeats/mean_difference"),
                "two answers about one article; {score.. repeats/mean_difference_interval|unknown}",
            ),
            _tile(
                audit,
                "Floor",
                ("score", "repeats/mean_floor"),
                "error of a perfect student; labels are means of {plain repeats/samples|1}",
            ),
            _tile(
                audit,
                "Signal",
                ("percent", "repeats/mean_signal"),
                "of the labels' variance is not the oracle's noise",
            ),
            _tile(
                audit,
                "Effective dimensions",
                ("rate", "redundancy/effective"),
                "interval {rate.. redundancy/effective_interval|unknown}",
            ),
            _tile(audit, "Advice", ("text", "curve/advice"), "by the learning curve"),
        )
    )
    yield Findings(
        tuple(Paragraph(said(audit, "{text text}", at), words(audit, *at, "tone")) for at in places(audit, "findings"))
    )


def _tile(audit: Record, label: str, value: tuple[Kind, str], note: str) -> Tile:
    kind, path = value
    return Tile(label, show(audit, kind, *path.split("/"), absent="unknown"), said(audit, note))


_USES = (
    ("Mean label", ("score", "mean")),
    ("Spread (sd)", ("score", "sd")),
    ("Scale used", ("percent", "used")),
    ("Share at the floor", ("percent", "at_floor")),
    ("Share at the ceiling", ("percent", "at_ceiling")),
)
"""What is told of each source and language: a caption, and a field of a `Spread` with how it is written."""


def scores(audit: Record) -> Iterator[Block]:
    """The use of the scale."""
    yield Figure(
        "histograms",
        "Labels along the scale",
        "For each dimension, the share of its labels in each tenth of the scale; darker is fuller.",
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
            ("At floor", "{percent at_floor}"),
            ("At ceiling", "{percent at_ceiling}"),
            ("Values", "{count levels}"),
            ("A constant's error", "{score constant_mae}"),
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
    """The oracle against itself."""
    yield Paragraph(
        said(
            audit,
            "{count repeats/articles} of {count repeats/rows} articles have more than one answer. Two answers about "
            "one article differ by {score repeats/mean_difference}; labels are means of {plain repeats/samples} "
            "answers, so a perfect student would still be off by {score repeats/mean_floor} "
            "(d / \N{SQUARE ROOT}2K).",
        )
    )
    reminder = (
        "Repeats of one prompt show what changes from answer to answer, and no bias that all answers share: only "
        "another oracle or a person can find that."
    )
    yield Paragraph((reminder,), "neutral")
    yield table(
        audit,
        "Two answers about one article",
        (
            ("Dimension", "{name dimension}"),
            ("Difference", "{score difference}"),
            ("Interval", "{score.. difference_interval}"),
            ("Floor", "{score floor}"),
            ("Interval", "{score.. floor_interval}"),
            ("Noise (sd)", "{score noise_sd}"),
            ("Signal", "{percent signal}"),
            ("Interval", "{percent.. signal_interval}"),
        ),
        [*places(audit, "repeats", "dimensions"), ("repeats", "overall")],
    )


def redundancy(audit: Record) -> Iterator[Block]:
    """How many things the dimensions measure."""
    yield Paragraph(
        said(
            audit,
            "The dimensions measure about {rate redundancy/effective} different things (interval "
            "{rate.. redundancy/effective_interval}; with the oracle's own noise taken out "
            "{rate redundancy/without_noise|unknown}). {text redundancy/rule}",
        )
    )
    yield Figure(
        "correlations",
        "Correlations of labels",
        "A square of colours: the correlation of every two dimensions.",
        charts.prepare_correlations(audit),
        charts.plot_correlations,
        (audit.file,),
    )
    names = audit.at("redundancy", "dimensions").value or []
    yield table(
        audit,
        "Principal components, the largest first",
        (("Share", "{percent share}"), *((spaced(name), f"{{signed loadings/{name}}}") for name in names)),
        places(audit, "redundancy", "components"),
        folded=True,
    )


def oracles(audit: Record) -> Iterator[Block]:
    """Several oracles side by side."""
    pairs = places(audit, "pairs")
    if not pairs:
        yield Paragraph(("No two oracles have scored the same article.",))
        return
    yield table(
        audit,
        "Every two oracles; bias is the first's scores less the second's",
        (
            ("Pair", "{text first} and {text second}"),
            ("Articles", "{count rows}"),
            ("Difference", "{score mean_difference}"),
            ("Interval", "{score.. mean_difference_interval}"),
            ("Bias", "{signed mean_bias}"),
            ("Interval", "{signed.. mean_bias_interval}"),
            ("Same tier", "{percent tiers/same}"),
            ("Kappa", "{score tiers/kappa}"),
            ("Positive: first", "{count tiers/positive_first}"),
            ("second", "{count tiers/positive_second}"),
            ("both", "{count tiers/positive_both}"),
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
    """More labels, a better prompt, or stop."""
    yield Paragraph(
        said(
            audit,
            "Advice: {text curve/advice}. {text curve/reason}. The next 1,000 labels would take {score curve/gain} "
            "off (interval {score.. curve/gain_interval}). Measured with {text curve/student} on "
            "{count curve/held_out} held-out rows a seed; a dearer student has a lower curve of a like shape.",
        ),
        "neutral",
    )
    yield Figure(
        "curve",
        "Error by number of labels",
        "Points of a cheap student's error by labels learned, a fitted curve, and what more labels may bring.",
        charts.prepare_curve(audit),
        charts.plot_curve,
        (audit.file,),
    )
    columns = (("Labels", "{count rows}"), ("Error", "{score mae}"))
    yield table(audit, "Measured, mean of the seeds", columns, places(audit, "curve", "points"), folded=True)
    yield table(
        audit,
        "Expected by the fit",
        (*columns, ("Interval", "{score.. interval}")),
        [("curve", name) for name in ("now", "more", "twice")],
        folded=True,
    )
    yield Paragraph(said(audit, "{text curve/rule}"))


def baselines(audit: Record) -> Iterator[Block]:
    """What labels can be had for without reading."""
    yield Paragraph(
        said(
            audit,
            "Errors over rows that each student had not seen. Knowing only an article's source removes "
            "{percent baselines/source_gain|an unknown share} of a constant's error (interval "
            "{percent.. baselines/source_gain_interval|unknown}).",
        )
    )
    yield table(
        audit,
        "Cheap students, out of fold",
        (("Student", "{text name}"), ("Error", "{score mae}"), ("Interval", "{score.. interval}")),
        places(audit, "baselines", "rungs"),
    )


def suspects(audit: Record) -> Iterator[Block]:
    """Labels worth a second look."""
    yield Paragraph(
        said(
            audit,
            "Rows whose labels are furthest from what {text suspects/student}, which had not seen them, expects; its "
            "error over all rows is {score suspects/mae}, a constant's {score suspects/constant_mae}. A suspicion of "
            "1 is an ordinary row. Many are right, and hard: look before correcting.",
        )
    )
    yield table(
        audit,
        "The most suspect labels, the worst first",
        (
            ("Id", "{text id}"),
            ("Article", "{text title}"),
            ("Suspicion", "{score suspicion}"),
            ("Furthest off", "{name worst}"),
            ("Label", "{score labels/@worst}"),
            ("Expected", "{score expected/@worst}"),
            ("The oracle's evidence", "{text evidence}"),
            ("Text", "{text text}"),
        ),
        places(audit, "suspects", "items"),
        wraps=("Article", "The oracle's evidence", "Text"),
    )


def prefilter(audit: Record) -> Iterator[Block]:
    """What the prefilter drops, and what of it should be kept."""
    yield Paragraph(
        said(
            audit,
            "The prefilter drops {count prefilter/dropped} of {count prefilter/articles} articles. A dropped one is "
            "missed when the oracle's scores put it in a positive tier; intervals are exact (Clopper and Pearson).",
        )
    )
    columns = (
        ("Dropped", "{count dropped}"),
        ("Judged", "{count judged}"),
        ("Missed", "{count missed}"),
        ("Rate", "{percent rate}"),
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
        "Missed articles, the highest first",
        (
            ("Article", "{text title}"),
            ("Dropped for", "{text reason}"),
            ("Tier", "{text tier}"),
            ("Overall", "{score overall}"),
        ),
        places(audit, "prefilter", "items"),
        folded=True,
    )


def texts(audit: Record) -> Iterator[Block]:
    """Duplicates, boilerplate, truncation and markup."""
    yield Paragraph(
        said(
            audit,
            "{count duplicates/rows} rows are near-duplicates of others, in {count duplicates/clusters} clusters (the "
            "largest has {count duplicates/largest}); {count duplicates/same_text} have the very text of an earlier "
            "one. Labels of a pair differ by {score duplicates/difference|an unknown amount}.",
        )
    )
    yield Paragraph(
        said(
            audit,
            "The window of {count truncation/max_chars} characters cuts {count truncation/cut} of "
            "{count truncation/rows} articles; half of those lose at least {percent truncation/lost|nothing} of their "
            "text. High scorers ({text truncation/high}) are cut in {percent truncation/high_cut_share} of cases, "
            "others in {percent truncation/other_cut_share} (difference {percent truncation/difference}, interval "
            "{percent.. truncation/difference_interval}). {count truncation/open_ended} texts were cut short before "
            "they came here.",
            absent=DASH,
        )
    )
    if audit.at("markup").recorded:
        yield Paragraph(
            said(
                audit,
                "{count markup/marked} of {count markup/rows} texts have markup: {count markup/html} HTML tags, "
                "{count markup/entities} entities such as &amp;, {count markup/markdown} Markdown. It takes at least "
                "{percent markup/taken|nothing} of the window in half of those. Oracle and student read it; terms of "
                "caps and prefilter are found in spite of it.",
            )
        )
    apart = table(
        audit,
        "Near-duplicates whose labels differ most",
        (
            ("Article", "{text title}"),
            ("First", "{text first}"),
            ("Second", "{text second}"),
            ("Likeness", "{score jaccard}"),
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
            ("Overall of others", "{score overall_without}"),
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
    """A section: its anchor, its title, what it says, and the field that is null where the audit left it out."""

    id: str
    title: str
    blocks: Callable[[Record], Iterator[Block]]
    field: str | None = None


PARTS = (
    Part("summary", "Summary", summary),
    Part("curve", "Learning curve", curve, "curve"),
    Part("repeats", "The oracle against itself", repeats, "repeats"),
    Part("redundancy", "Redundancy of dimensions", redundancy, "redundancy"),
    Part("scores", "Use of the scale", scores),
    Part("oracles", "Oracles side by side", oracles),
    Part("baselines", "Without reading", baselines, "baselines"),
    Part("suspects", "Suspect labels", suspects, "suspects"),
    Part("prefilter", "What the prefilter drops", prefilter, "prefilter"),
    Part("texts", "Duplicates, boilerplate, truncation, markup", texts, "truncation"),
)
"""The page, in reading order."""


def _section(audit: Record, part: Part) -> Section:
    if part.field is not None and not audit.at(part.field).recorded:
        left_out = said(audit, f"Left out: {{text skipped/{part.field}}}.")
        return Section(part.id, part.title, (Paragraph(left_out),))
    return Section(part.id, part.title, tuple(part.blocks(audit)))

"""The model card, in the format of the Hugging Face Hub.

In: facts. Out: the text of `model_card.md`: YAML front matter with the recorded facts (the base model, tags, metrics
with their data), then the sections of the report that belong in a card. Facts that are not recorded, such as a licence,
are left out of the front matter and marked as missing in the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from potstill.report.blocks import Document, Paragraph, Section
from potstill.report.markdown import render_body
from potstill.report.sections.conclusions import strengths, suitability
from potstill.report.sections.configuration import configuration, judged
from potstill.report.sections.data import data
from potstill.report.sections.dimensions import dimensions
from potstill.report.sections.parts import chosen_student, headline, show
from potstill.report.sections.probe import probe
from potstill.report.sections.specifications import specifications
from potstill.report.sections.summary import summary
from potstill.report.sections.tiers import tiers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from potstill.report.facts import Facts

CARD = "model_card.md"

_METRICS = (
    ("mae", "Mean absolute error", ("mean", "mae")),
    ("mae", "Mean absolute error of the constant baseline", ("mean", "constant_mae")),
    ("spearmanr", "Spearman, mean over dimensions", ("mean", "spearman")),
    ("accuracy", "Tier agreement with the oracle", ("tiers", "accuracy")),
)
"""The hub's name of a metric, our name, and its path in a judgement."""

_SECTIONS: tuple[tuple[str, Callable[[Facts], Section]], ...] = (
    ("Model description", judged),
    ("Intended uses", suitability),
    ("Bias, risks and limitations", strengths),
    ("Training data", data),
    ("Training procedure", configuration),
    ("Evaluation", summary),
    ("Evaluation by dimension", dimensions),
    ("Evaluation of tiers", tiers),
    ("Evaluation of behaviour", probe),
    ("Technical specifications", specifications),
)
"""The card's headings, and the section of the report under each."""


def render_card(facts: Facts) -> str:
    """The text of `model_card.md`."""
    sections = []
    for title, section in _SECTIONS:
        made = section(facts)
        sections.append(Section(made.id, title, made.blocks))
    sections.insert(1, _use(facts))
    document = Document(
        title=str(facts.evaluation.at("filter").value or "Distilled model"),
        kicker="",
        lead=(
            "A small model that predicts the scores of an LLM oracle for the filter ",
            show(facts.evaluation, "text", "filter"),
            ", version ",
            show(facts.evaluation, "plain", "filter_version"),
            ". Made with potstill; every figure in this card comes from a record of the run.",
        ),
        sections=tuple(sections),
    )
    front = yaml.safe_dump(front_matter(facts), sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n\n{render_body(document, plots=False)}\n"


def front_matter(facts: Facts) -> dict[str, Any]:
    """The front matter that the hub reads; keys without a recorded value are left out."""
    evaluation, student = facts.evaluation, chosen_student(facts)
    bases = list(student.keys("backbones"))
    languages = sorted(_languages(facts))
    results = list(_results(facts))
    name = evaluation.at("filter").value
    model = {"name": str(name), "results": results}
    found: dict[str, Any] = {
        "library_name": "potstill",
        "pipeline_tag": "text-classification",
        "tags": ["potstill", "distillation", "regression", *([str(name)] if name else [])],
        "language": languages,
        "base_model": bases,
        "metrics": sorted({result["metrics"][0]["type"] for result in results}),
        "model-index": [model] if results else [],
    }
    return {key: value for key, value in found.items() if value}


def _results(facts: Facts) -> Iterator[dict[str, Any]]:
    evaluation, at = facts.evaluation, headline(facts.evaluation)
    filter_, source = evaluation.at("filter").value, evaluation.at(*at, "source").value
    for kind, name, path in _METRICS:
        value = evaluation.at(*at, *path).value
        if value is not None:
            yield {
                "task": {"type": "text-classification", "name": "Scoring texts with a filter"},
                "dataset": {"type": str(filter_), "name": f"{filter_}, held-out rows ({source})"},
                "metrics": [{"type": kind, "name": name, "value": value}],
            }


def _languages(facts: Facts) -> Iterator[str]:
    """The languages of the evaluated slices."""
    evaluation = facts.evaluation
    for place in range(evaluation.size("shipped", "slices")):
        if evaluation.at("shipped", "slices", place, "by").value == "language":
            yield str(evaluation.at("shipped", "slices", place, "value").value)


def _use(facts: Facts) -> Section:
    licence = Paragraph(("Licence: not recorded. The terms of the base model and of the oracle apply.",))
    code = Paragraph(
        (
            "Load the bundle with potstill.scorer.Scorer.load(folder) and call score() on it, or run potstill score ",
            "BUNDLE ARTICLES. The bundle's hash is ",
            show(facts.bundle, "text", "sha256"),
            "; potstill verify BUNDLE checks it.",
        )
    )
    return Section("use", "How to use it", (code, licence))

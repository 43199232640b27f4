"""The page of `potstill view`: the report, and every article with the oracle and the student side by side.

In: a run that has been evaluated. Out: a page on loopback. Articles are untrusted: their words reach the page as
JSON and are set as text, and the page can run no script but its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from potstill.errors import BadInput
from potstill.evaluation.predictions import read_predictions
from potstill.evaluation.whatif import edited, what_if
from potstill.pages.explorer import Explorer, Query
from potstill.pages.loopback import Loopback, require_server
from potstill.pages.sealed import Document, asset, sealed
from potstill.records import Part
from potstill.report.policy import report_policy, script_named
from potstill.terminal import note

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from potstill.evaluation.predictions import Predictions
    from potstill.runs import Run


LONGEST_SETTING = 1000
"""Characters of one setting of a filter."""


class Settings(Part):
    """How the filter is edited, each setting as in `evaluation.whatif.edited`."""

    settings: tuple[Annotated[str, Field(max_length=LONGEST_SETTING)], ...] = Field(max_length=100)


class View:
    """What the page asks of the server."""

    def __init__(self, explorer: Explorer, predictions: Predictions, *, has_report: bool) -> None:
        self.explorer = explorer
        self.predictions = predictions
        self.has_report = has_report

    def page(self) -> Document:
        """The page, whole: it fetches nothing but answers of `get` and `post`."""
        return sealed(
            f"Articles of {self.explorer.filter.name}",
            asset("pages", "view.html"),
            style=asset("report", "page.css") + asset("pages", "view.css"),
            script=asset("pages", "shared.js") + asset("pages", "view.js"),
        )

    def get(self, path: str) -> dict[str, Any] | None:
        """The answer to `/api/about`; None for any other path."""
        if path != "/api/about":
            return None
        filter_ = self.explorer.filter
        return {
            "filter": filter_.name,
            "version": filter_.version,
            "scale": [filter_.scale.min, filter_.scale.max],
            "articles": self.explorer.frame.height,
            "facets": self.explorer.facets(),
            "report": self.has_report,
        }

    def post(self, path: str, body: Any) -> Mapping[str, Any] | None:  # noqa: ANN401 - JSON from outside, checked here
        """The answer to `/api/articles` (a `Query`), `/api/article` (an id) and `/api/whatif` (`Settings`), else None.

        Raises:
            BadInput: the question is none.
        """
        if path == "/api/article":
            if not isinstance(body, dict) or not isinstance(body.get("id"), str):
                raise BadInput("expected an object with the id of an article")
            return self.explorer.article(body["id"])
        if path not in {"/api/articles", "/api/whatif"}:
            return None
        if path == "/api/whatif":
            return self._what_if(Settings.validated(body, "the question").settings)
        return self.explorer.ask(Query.validated(body, "the question"))

    def _what_if(self, settings: Sequence[str]) -> dict[str, Any]:
        """Stored scores decided again; each article that moves with the title by which it is listed."""
        filter_ = self.explorer.filter
        found = what_if(self.predictions, filter_, edited(filter_, settings)).model_dump(mode="json")
        titles = self.explorer.titles([article["id"] for article in found["articles"]])
        for article in found["articles"]:
            article["title"] = titles[article["id"]]
        return found


def open_view(run: Run, port: int = 0) -> Loopback:
    """The server of a run's page; `serve_forever` serves it.

    Raises:
        RunError: the run has not been evaluated.
        BadInput: the port is taken.
        MissingExtra: the extra `serve` is not installed.
    """
    require_server()
    report = run.path("report") / "report.html"
    documents: dict[str, Callable[[], Document]] = {}
    if report.is_file():
        documents["/report"] = lambda: report_of(report)
        if script_named(report.read_text(encoding="utf-8")) is None:
            note(f"{report}: written by another version of potstill, so its plots stay empty; run: potstill report")
    explorer = Explorer.of(run)
    predictions = read_predictions(run.folder, explorer.filter)
    return Loopback(View(explorer, predictions, has_report=bool(documents)), port, documents)


def report_of(path: Path) -> Document:
    """A report as it is served: its own script runs, apart from the other pages; one not named by its hash does not."""
    content = path.read_text(encoding="utf-8")
    return Document(content, report_policy(script_named(content) or "'none'"), sandboxed=True)

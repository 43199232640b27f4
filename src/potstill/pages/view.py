"""Provide the page of `potstill view`: the report, and every article with the oracle's and the student's scores.

Input: an evaluated run. Output: a page on loopback. Articles are untrusted: their text reaches the page as JSON and is
inserted as text, and the page can only run its own script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from potstill.errors import BadInput
from potstill.evaluation.whatif import edited, what_if
from potstill.pages.explorer import Explorer, Query
from potstill.pages.loopback import Loopback, require_server
from potstill.pages.sealed import Document, asset, sealed
from potstill.pipeline.predictions import read_predictions
from potstill.records import Part
from potstill.report.policy import report_policy, script_named
from potstill.terminal import note

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from potstill.evaluation.predictions import Predictions
    from potstill.pipeline.run import Run


LONGEST_SETTING = 1000
"""Maximum number of characters of one filter setting."""


class Settings(Part):
    """Edits of the filter; each setting has the syntax of `evaluation.whatif.edited`."""

    settings: tuple[Annotated[str, Field(max_length=LONGEST_SETTING)], ...] = Field(max_length=100)


class View:
    """The server side of the page."""

    def __init__(self, explorer: Explorer, predictions: Predictions, *, has_report: bool) -> None:
        self.explorer = explorer
        self.predictions = predictions
        self.has_report = has_report

    def page(self) -> Document:
        """Return the complete page; it only fetches answers of `get` and `post`."""
        return sealed(
            f"Articles of {self.explorer.filter.name}",
            asset("pages", "view.html"),
            style=asset("report", "page.css") + asset("pages", "view.css"),
            script=asset("pages", "shared.js") + asset("pages", "view.js"),
        )

    def get(self, path: str) -> dict[str, Any] | None:
        """Answer `/api/about`; return None for any other path."""
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
        """Answer `/api/articles` (a `Query`), `/api/article` (an id) and `/api/whatif` (`Settings`), else return None.

        Raises:
            BadInput: the body is not a valid query.
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
        """Apply an edited filter to the stored scores, and add a title to each article whose verdict changes."""
        filter_ = self.explorer.filter
        found = what_if(self.predictions, filter_, edited(filter_, settings)).model_dump(mode="json")
        titles = self.explorer.titles([article["id"] for article in found["articles"]])
        for article in found["articles"]:
            article["title"] = titles[article["id"]]
        return found


def open_view(run: Run, port: int = 0) -> Loopback:
    """Create the server of a run's page; `serve_forever` serves it.

    Args:
        run: an evaluated run.
        port: port to listen on; 0 for any free port.

    Raises:
        RunError: the run has not been evaluated.
        BadInput: the port is in use.
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
    """Load a report to be served in a sandbox; its script runs only if its hash is a known one."""
    content = path.read_text(encoding="utf-8")
    return Document(content, report_policy(script_named(content) or "'none'"), sandboxed=True)

"""The page of `potstill view`: the report, and every article with the oracle and the student side by side.

In: a run that has been evaluated. Out: a page on loopback. Articles are untrusted: their words reach the page as
JSON and are set as text, and the page can run no script but its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from potstill.errors import BadInput
from potstill.pages.explorer import Explorer, Query
from potstill.pages.loopback import Loopback
from potstill.pages.sealed import asset, sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from potstill.runs import Run


class View:
    """What the page asks of the server."""

    def __init__(self, explorer: Explorer, *, has_report: bool) -> None:
        self.explorer = explorer
        self.has_report = has_report

    def page(self) -> str:
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
        """The answer to `/api/articles` (a `Query`) and `/api/article` (an id); None for any other path.

        Raises:
            BadInput: the question is none.
        """
        if path == "/api/article":
            if not isinstance(body, dict) or not isinstance(body.get("id"), str):
                raise BadInput("expected an object with the id of an article")
            return self.explorer.article(body["id"])
        if path != "/api/articles":
            return None
        try:
            return self.explorer.ask(Query.model_validate(body))
        except ValidationError as error:
            first = error.errors()[0]
            raise BadInput(f"{' -> '.join(map(str, first['loc']))}: {first['msg']}") from None


def open_view(run: Run, port: int = 0) -> Loopback:
    """The server of a run's page; `serve_forever` serves it.

    Raises:
        RunError: the run has not been evaluated.
        BadInput: the port is taken.
    """
    report = run.path("report") / "report.html"
    documents: dict[str, Callable[[], str]] = {}
    if report.is_file():
        documents["/report"] = lambda: report.read_text(encoding="utf-8")
    return Loopback(View(Explorer.of(run), has_report=bool(documents)), port, documents)

"""Provide the page of `potstill review`: one article at a time with its scores, to accept or correct by keyboard.

Input: an open `Review`. Output: a page on loopback. Each judgement is saved in the review immediately, so the page can
be closed and reopened at any time.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

from potstill.errors import BadInput, PotstillError
from potstill.pages.sealed import Document, asset, sealed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from potstill.pipeline.review import Item, Review

RESAMPLES = 300
"""Number of bootstrap resamples for the agreement; kept small because the user waits for the result."""

_WHOLE = re.compile(r"[0-9]{1,9}")
"""Pattern of an article's number. The length is limited so that `int` can always convert it."""


class Desk:
    """The server side of the review page.

    Args:
        review: an open review.
        blind: whether to hide the oracle's scores until the reviewer has scored the article, so that the agreement is
            independent of them.
    """

    def __init__(self, review: Review, *, blind: bool = False) -> None:
        self.review = review
        self.blind = blind
        # The server has a thread per connection, so judgements are serialised.
        self._lock = threading.Lock()

    def page(self) -> Document:
        """Return the complete page; it only fetches answers of `get` and `post`."""
        return sealed(
            f"Review of {self.review.filter.name}",
            asset("pages", "review.html"),
            style=asset("report", "page.css") + asset("pages", "review.css"),
            script=asset("pages", "shared.js") + asset("pages", "review.js"),
        )

    def get(self, path: str) -> dict[str, Any] | None:
        """Answer `/api/state`, `/api/item/N` and `/api/agreement`; return None for any other path."""
        with self._lock:
            if path == "/api/state":
                return self._state()
            if path == "/api/agreement":
                return {"pairs": [pair.model_dump(mode="json") for pair in self.review.agreement(resamples=RESAMPLES)]}
            number = path.removeprefix("/api/item/")
            if number == path or _WHOLE.fullmatch(number) is None or int(number) >= len(self.review.items):
                return None
            return self._shown(self.review.items[int(number)])

    def post(self, path: str, body: Any) -> dict[str, Any] | None:  # noqa: ANN401 - JSON from outside, checked here
        """Answer `/api/judge` and `/api/retract`; return None for any other path.

        A score may be null only if the reviewed oracle's label has none for that dimension either.

        Raises:
            PotstillError: the judgement cannot be saved.
        """
        if path not in {"/api/judge", "/api/retract"}:
            return None
        if not isinstance(body, dict) or not isinstance(body.get("id"), str):
            raise PotstillError("expected an object with the id of an article")
        with self._lock:
            if path == "/api/judge":
                scores, note = body.get("scores"), body.get("note", "")
                if not isinstance(scores, dict) or not isinstance(note, str):
                    raise PotstillError("expected scores by dimension, and a note")
                self._check_masks(body["id"], scores)
                item = self.review.judge(body["id"], scores, note)
            else:
                item = self.review.retract(body["id"])
            return {"item": self._shown(item), "counts": self._counts()}

    def _check_masks(self, id_: str, scores: Mapping[str, object]) -> None:
        """Reject a missing score for a dimension that the oracle has scored."""
        scale = self.review.filter.scale
        masked = {name for name, value in self.review.item(id_).scores.items() if value is None}
        for name in self.review.filter.dimension_names:
            if name in scores and scores[name] is None and name not in masked:
                raise BadInput(
                    f"{name}: got null, expected {scale.min:g} to {scale.max:g}; null is "
                    "allowed only where the oracle gave no score"
                )

    def _state(self) -> dict[str, Any]:
        filter_ = self.review.filter
        items = self.review.items
        return {
            "filter": f"{filter_.name} v{filter_.version}",
            "reviewer": self.review.reviewer,
            "oracle": self.review.oracle,
            "scale": [filter_.scale.min, filter_.scale.max],
            "dimensions": [
                {"name": name, "description": part.description} for name, part in filter_.dimensions.items()
            ],
            "count": len(items),
            # Position of the first article that has not been reviewed.
            "next": next((place for place, item in enumerate(items) if item.given is None), 0),
            **self._counts(),
        }

    def _counts(self) -> dict[str, int]:
        return {"judged": len(self.review.judged()), "corrected": self.review.corrections()}

    def _shown(self, item: Item) -> dict[str, Any]:
        shown = item.as_dict()
        if self.blind and item.given is None:
            shown |= {"scores": None, "others": {}, "evidence": "", "why": ""}
        return shown

"""The page of `potstill review`: one article at a time beside its scores, to be accepted or corrected by keyboard.

In: an open `Review`. Out: a page on loopback, whose judgements go to the review as they are made. The page holds no
state worth keeping: it can be closed and opened again at any time.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

from potstill.errors import BadInput, PotstillError
from potstill.pages.sealed import Document, asset, sealed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from potstill.review import Item, Review

RESAMPLES = 300
"""Of the bootstrap behind the agreement, while a person waits."""

_WHOLE = re.compile(r"[0-9]{1,9}")
"""The number of an article; a longer one is none, and a very long one could not even be read as an integer."""


class Desk:
    """What the page asks of the server, over one review.

    Args:
        review: an open one.
        blind: the oracle's scores are shown only once the reviewer has given theirs, so that the agreement is not
            an echo.
    """

    def __init__(self, review: Review, *, blind: bool = False) -> None:
        self.review = review
        self.blind = blind
        # The server has a thread per connection; judgements are one at a time.
        self._lock = threading.Lock()

    def page(self) -> Document:
        """The page, whole: it fetches nothing but answers of `get` and `post`."""
        return sealed(
            f"Review of {self.review.filter.name}",
            asset("pages", "review.html"),
            style=asset("report", "page.css") + asset("pages", "review.css"),
            script=asset("pages", "shared.js") + asset("pages", "review.js"),
        )

    def get(self, path: str) -> dict[str, Any] | None:
        """The answer to `/api/state`, `/api/item/N` or `/api/agreement`; None for any other path."""
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
        """The answer to `/api/judge` and `/api/retract`; None for any other path.

        A score of null is legal only where the reviewed oracle's label has none either.

        Raises:
            PotstillError: what was sent cannot be kept.
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
        """Refuse a score that is left out although the oracle gave one."""
        scale = self.review.filter.scale
        masked = {name for name, value in self.review.item(id_).scores.items() if value is None}
        for name in self.review.filter.dimension_names:
            if name in scores and scores[name] is None and name not in masked:
                raise BadInput(
                    f"{name}: got null, legal {scale.min:g} to {scale.max:g}; null only where the oracle gave no score"
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
            # Where the reviewer left off.
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

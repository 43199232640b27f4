"""Replay recorded answers through the same path as a live oracle.

Input: a JSON Lines file with `{"id", "scores": {..}, "evidence"?}` or `{"id", "samples": [{"scores", "evidence"?},
..]}`; or, with a field's name, rows whose field of that name contains scores, or scores by pass (`{"a": {..}, "b":
{..}}`), with the evidence in `FIELD_evidence`. A null score is masked. Replay is free and needs no network. It runs the
demo, imports labels that were bought elsewhere, and serves as the oracle in tests.

An article is found by its id. Answers belong to texts, so articles with the same text have one label: the mean of all
that is recorded for them, which an article without a recorded answer of its own has too.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from potstill.errors import LabelError
from potstill.files import refuse_stream, sha256
from potstill.oracle.protocol import Failure, Reply
from potstill.terminal import note

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from potstill.oracle.prompt import Answer, Prompt
    from potstill.oracle.protocol import Request


class ReplayOracle:
    """An oracle that answers from a file; sample k of an article is its k-th recorded answer.

    Args:
        path: the file, or the name of a built-in one (`lee-oracle`).
        column: the field of each row that contains the answers; by default, `scores` or `samples`.

    Raises:
        LabelError: the file is missing, or a row is invalid; the message names the line.
    """

    name = "replay"
    free = True

    def __init__(self, path: str | Path, column: str | None = None) -> None:
        self._path = _find(path)
        self.model = self._path.stem + (f"#{column}" if column else "")
        self.revision = sha256(self._path)
        self._column = column
        # The answers are kept as texts, as a network would deliver them, with line numbers for later error messages.
        self._answers: dict[str, list[str]] = {}
        self._lines: dict[str, int] = {}
        self._same_text: dict[str, tuple[str, ...]] = {}
        for number, row in _rows(self._path):
            id_ = row.get("id")
            if not isinstance(id_, (str, int)) or isinstance(id_, bool) or id_ == "":
                self._fail(number, "field id: expected text")
            if str(id_) in self._lines:
                self._fail(number, f"duplicate id {json.dumps(id_)}, already at line {self._lines[str(id_)]}")
            self._lines[str(id_)] = number
            self._answers[str(id_)] = [json.dumps(answer) for answer in self._recorded(number, row)]

    def prepare(self, prompt: Prompt) -> None:
        """Parse every recorded answer with the prompt's filter.

        Raises:
            LabelError: an answer has a score outside the scale, or not exactly the dimensions; the message names the
                line.
        """
        for id_, answers in self._answers.items():
            for text in answers:
                try:
                    prompt.parse(text, masks=True)
                except Failure as failure:
                    self._fail(self._lines[id_], f"id {json.dumps(id_)}: {failure.detail}")

    def know_texts(self, texts: Mapping[str, str]) -> None:
        """Learn which articles have the same text; a note says how many of them are recorded with different scores.

        Args:
            texts: a text, or its hash, by the id of each article.
        """
        groups: dict[str, list[str]] = {}
        for id_, text in texts.items():
            groups.setdefault(text, []).append(id_)
        repeated = [tuple(ids) for ids in groups.values() if len(ids) > 1]
        self._same_text = {id_: ids for ids in repeated for id_ in ids}
        different = [ids for ids in repeated if self._differ(ids)]
        if different:
            articles = sum(len(ids) for ids in different)
            note(
                f"{self._path.name}: {len(different):,} texts repeat with different labels, in {articles:,} articles; "
                "each of these texts gets the mean of its labels"
            )

    async def ask(self, request: Request) -> Reply:
        """Return the recorded answer, or the mean of those that are recorded for articles of the same text."""
        ids = self._same_text.get(request.article_id, (request.article_id,))
        raws = [self._answers[id_][request.sample] for id_ in ids if request.sample < len(self._answers.get(id_, ()))]
        if not raws:
            most = max(len(self._answers.get(id_, ())) for id_ in ids)
            raise Failure("not_recorded", f"{self._path.name} has only {most} answers for {request.article_id}")
        answers = [request.parse(raw, masks=True) for raw in raws]
        evidence = next((answer.evidence for answer in answers if answer.evidence), "")
        return Reply(_mean_scores(answers), evidence, 0, 0, raws[0] if len(raws) == 1 else f"[{', '.join(raws)}]")

    async def close(self) -> None:
        """Do nothing, because no resources are held."""

    def _differ(self, ids: Sequence[str]) -> bool:
        """Return whether the scores that are recorded for these articles differ in any answer."""
        recorded = [[json.loads(raw)["scores"] for raw in self._answers[id_]] for id_ in ids if id_ in self._answers]
        return any(scores != recorded[0] for scores in recorded[1:])

    def _recorded(self, number: int, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if self._column is not None:
            yield from self._by_pass(number, row, self._column)
        elif isinstance(row.get("samples"), list):
            for sample in row["samples"]:
                if not isinstance(sample, dict) or "scores" not in sample:
                    self._fail(number, "field samples: expected objects with scores")
                yield {"scores": sample["scores"], "evidence": sample.get("evidence", "")}
        elif "scores" in row:
            yield {"scores": row["scores"], "evidence": row.get("evidence", "")}
        else:
            self._fail(number, "expected the field scores or samples; for another field, append #FIELD to the oracle")

    def _by_pass(self, number: int, row: dict[str, Any], column: str) -> Iterator[dict[str, Any]]:
        value, evidence = row.get(column), row.get(f"{column}_evidence", "")
        if not isinstance(value, dict) or not value:
            self._fail(number, f"field {column}: expected scores")
        if not all(isinstance(inner, dict) for inner in value.values()):
            yield {"scores": value, "evidence": evidence}
            return
        for name in sorted(value):
            yield {"scores": value[name], "evidence": evidence.get(name, "") if isinstance(evidence, dict) else ""}

    def _fail(self, number: int, what: str) -> NoReturn:
        raise LabelError(f"{self._path}: line {number}: {what}") from None


def _mean_scores(answers: Sequence[Answer]) -> dict[str, float | None]:
    """Return the mean of each dimension over the answers that score it; None if none does."""
    means: dict[str, float | None] = {}
    for name in answers[0].scores:
        known = [score for answer in answers if (score := answer.scores[name]) is not None]
        means[name] = sum(known) / len(known) if known else None
    return means


def _find(path: str | Path) -> Path:
    given = Path(path)
    refuse_stream(given)
    if given.is_file():
        return given
    shipped = Path(str(files("potstill") / "builtin" / f"{path}.jsonl"))
    if shipped.parent == Path(str(files("potstill") / "builtin")) and shipped.is_file():
        return shipped
    raise LabelError(f"{path}: no such file of recorded answers")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, parse_constant=_no_constant)
            except UnicodeDecodeError:
                raise LabelError(f"{path}: line {number}: not UTF-8") from None
            except (ValueError, RecursionError) as error:
                raise LabelError(f"{path}: line {number}: broken JSON ({error})") from None
            if not isinstance(row, dict):
                raise LabelError(f"{path}: line {number}: expected a JSON object")
            yield number, row


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")

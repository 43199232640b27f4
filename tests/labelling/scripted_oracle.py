"""An oracle that answers by a script, and articles to label."""

import asyncio
import json

import polars as pl

from potstill.filters import load_filter
from potstill.labelling.pace import Pace
from potstill.oracle import Failure, Reply

FRONT_PAGE = load_filter("front-page")


class ScriptedOracle:
    """Calls `script(request, number)`; a return value is the text of an answer, and an exception is raised."""

    name = "scripted"
    revision = ""

    def __init__(self, script=None, *, model="m", free=False, tokens=(100, 20), revision=""):
        self.script = script or (lambda request, number: good(5.0))
        self.model = model
        self.free = free
        self.tokens = tokens
        self.revision = revision
        self.requests = []
        self.running = self.most = 0
        self.closed = False

    def prepare(self, prompt):
        pass

    async def ask(self, request):
        number = len(self.requests)
        self.requests.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            raw = self.script(request, number)
            try:
                answer = request.parse(raw)
            except Failure as failure:
                failure.charged, (failure.tokens_in, failure.tokens_out) = "tokens", self.tokens
                raise
            return Reply(answer.scores, answer.evidence, *self.tokens, raw)
        finally:
            self.running -= 1

    async def close(self):
        self.closed = True


def good(score, **others):
    """Return the text of a good answer with the same score for each dimension, except for the given ones."""
    return json.dumps({"scores": dict.fromkeys(FRONT_PAGE.dimension_names, score) | others, "evidence": "e"})


def stories(count, start=0):
    """Return a number of articles with distinct texts."""
    numbers = range(start, start + count)
    return pl.DataFrame(
        {"id": [f"a{i}" for i in numbers], "title": ["News"] * count, "content": [f"Story {i}." for i in numbers]}
    )


class Clock:
    """A clock that advances only when something sleeps."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        wake = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, wake)

    def pace(self, concurrency=16, **limits):
        return Pace(concurrency, clock=self, sleep=self.sleep, chance=lambda: 0.5, **limits)

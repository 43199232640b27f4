"""One question for every live oracle: what its answer should be, and asking it of a scripted server on loopback."""

import asyncio
import json

from scripted_server import Answer, ScriptedServer, completion

from potstill.filters import load_filter
from potstill.oracle import UNSUPPORTED, Failure, Settings, open_oracle
from potstill.oracle.prompt import Prompt

PROMPT = Prompt.of(load_filter("front-page"))
SCORES = dict.fromkeys(PROMPT.filter.dimension_names, 4.5)
GOOD = json.dumps({"scores": SCORES, "evidence": "bridge fell"})

KEYS = {"openai:m": "OPENAI_API_KEY", "anthropic:m": "ANTHROPIC_API_KEY", "gemini:m": "GEMINI_API_KEY"}
"""Each provider, and the variable of its key."""


def said(spec, text=GOOD):
    """The body of an answer with that text, as each provider gives it."""
    if spec.startswith("openai:"):
        return completion(text)
    if spec.startswith("anthropic:"):
        body = {"type": "message", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn",
                "usage": {"input_tokens": 100, "output_tokens": 20}}  # fmt: skip
    else:
        content = {"parts": [{"text": text}], "role": "model"}
        body = {"candidates": [{"content": content, "finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 20}}  # fmt: skip
    return Answer(body=json.dumps(body).encode())


def address(spec, url):
    """A server's address as this provider takes it: OpenAI's ends in a version, the others' libraries add theirs."""
    return url if spec.startswith("openai:") else url.removesuffix("/v1")


async def outcome_of(oracle, question):
    """The reply or failure, after as many calls as the server refuses the form of."""
    while True:
        try:
            return await oracle.ask(question)
        except Failure as failure:
            if failure.reason != UNSUPPORTED:
                return failure


def ask(spec, script, *, times=1, request=None, **settings):
    """The server, and the replies or failures of so many questions, one after the other."""

    async def all_of_them(oracle):
        outcomes = []
        for number in range(times):
            question = request or PROMPT.request(f"a{number}", f"Bridge {number} fell.", max_tokens=300)
            outcomes.append(await outcome_of(oracle, question))
        await oracle.close()
        return outcomes

    with ScriptedServer(script) as server:
        told = Settings(**{"base_url": address(spec, server.url), "timeout": 5.0} | settings)
        outcomes = asyncio.run(all_of_them(open_oracle(spec, told)))
    return server, outcomes

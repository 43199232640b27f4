"""Put one question to any live oracle through a scripted server on loopback, with its expected answer."""

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
"""Environment variable of each provider's key."""


def said(spec, text=GOOD):
    """Return the body of an answer with this text in the provider's format."""
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
    """Return a server's address in the provider's form: OpenAI's ends in a version; other libraries append theirs."""
    return url if spec.startswith(("openai:", "decisions:")) else url.removesuffix("/v1")


async def outcome_of(oracle, question):
    """Return the reply or failure, repeating the call each time the server rejects the form of the request."""
    while True:
        try:
            return await oracle.ask(question)
        except Failure as failure:
            if failure.reason != UNSUPPORTED:
                return failure


def ask(spec, script, *, times=1, request=None, **settings):
    """Return the server, and the replies or failures of a number of consecutive questions."""

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

"""Wire formats of the three providers for questions, answers and errors, so that one test can cover them all."""

import json
from typing import ClassVar

from scripted_server import Answer

END, CUT, REFUSED = "end", "cut", "refused"


class OpenAI:
    """The format of `/chat/completions`."""

    spec = "openai:tiny"
    finishes: ClassVar = {END: "stop", CUT: "length", REFUSED: "content_filter"}

    def address(self, server):
        return server.url

    def body(self, text, *, finish=END, usage=(100, 20), thought=""):
        message = {"role": "assistant", "content": text} | ({"reasoning_content": thought} if thought else {})
        body = {"choices": [{"index": 0, "finish_reason": self.finishes.get(finish, finish), "message": message}]}
        return body if usage is None else body | {"usage": self.usage(*usage)}

    def usage(self, tokens_in, tokens_out):
        return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}

    def error(self, code, message, word=""):
        return {"error": {"code": word or code, "message": message, "type": word or "error"}}

    def question(self, request):
        return request["messages"][-1]["content"]

    def everything(self, request):
        return "\n".join(message["content"] for message in request["messages"])

    def holds(self, request):
        return request.get("response_format", {}).get("type") == "json_schema"

    def limit(self, request):
        return request.get("max_tokens") or request["max_completion_tokens"]


class Anthropic:
    """The format of `/v1/messages`."""

    spec = "anthropic:tiny"
    finishes: ClassVar = {END: "end_turn", CUT: "max_tokens", REFUSED: "refusal"}

    def address(self, server):
        return server.url.removesuffix("/v1")

    def body(self, text, *, finish=END, usage=(100, 20), thought=""):
        blocks = [{"type": "thinking", "thinking": thought, "signature": "s"}] if thought else []
        blocks += [] if text is None else [{"type": "text", "text": text}]
        body = {"id": "m", "type": "message", "role": "assistant", "model": "tiny", "content": blocks,
                "stop_reason": self.finishes.get(finish, finish)}  # fmt: skip
        return body if usage is None else body | {"usage": self.usage(*usage)}

    def usage(self, tokens_in, tokens_out):
        return {"input_tokens": tokens_in, "output_tokens": tokens_out}

    def error(self, code, message, word=""):
        kinds = {400: "invalid_request_error", 401: "authentication_error", 402: "billing_error",
                 404: "not_found_error", 429: "rate_limit_error", 529: "overloaded_error"}  # fmt: skip
        return {"type": "error", "error": {"type": word or kinds.get(code, "api_error"), "message": message}}

    def question(self, request):
        return request["messages"][-1]["content"]

    def everything(self, request):
        return "\n".join([request["system"][0]["text"], *(message["content"] for message in request["messages"])])

    def holds(self, request):
        return "format" in request.get("output_config", {})

    def limit(self, request):
        return request["max_tokens"]


class Gemini:
    """The format of `models/MODEL:generateContent`."""

    spec = "gemini:tiny"
    finishes: ClassVar = {END: "STOP", CUT: "MAX_TOKENS", REFUSED: "SAFETY"}

    def address(self, server):
        return server.url.removesuffix("/v1")

    def body(self, text, *, finish=END, usage=(100, 20), thought=""):
        parts = [{"text": thought, "thought": True}] if thought else []
        parts += [] if text is None else [{"text": text}]
        candidate = {"content": {"parts": parts, "role": "model"}, "finishReason": self.finishes.get(finish, finish)}
        body = {"candidates": [candidate | {"index": 0}], "modelVersion": "tiny"}
        return body if usage is None else body | {"usageMetadata": self.usage(*usage)}

    def usage(self, tokens_in, tokens_out):
        return {"promptTokenCount": tokens_in, "candidatesTokenCount": tokens_out}

    def error(self, code, message, word=""):
        kinds = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED",
                 503: "UNAVAILABLE"}  # fmt: skip
        return {"error": {"code": code, "message": message, "status": word or kinds.get(code, "INTERNAL")}}

    def question(self, request):
        return request["contents"][-1]["parts"][0]["text"]

    def everything(self, request):
        turns = [request["systemInstruction"], *request["contents"]]
        return "\n".join(part["text"] for turn in turns for part in turn["parts"])

    def holds(self, request):
        return "responseJsonSchema" in request["generationConfig"]

    def limit(self, request):
        return request["generationConfig"]["maxOutputTokens"]


DIALECTS = {"openai": OpenAI(), "anthropic": Anthropic(), "gemini": Gemini()}


def sent(body, status=200, **headers):
    """Return a body as a scripted server's answer; underscores in header names become hyphens."""
    return Answer(status, json.dumps(body).encode(), {name.replace("_", "-"): value for name, value in headers.items()})

"""A real HTTP server on loopback with Anthropic's `/v1/messages/batches`."""

import json
from urllib.parse import parse_qs, urlsplit

from batch_server import BatchServer


class MessageBatchServer(BatchServer):
    """Answers each question of a batch by `script(question, times)`, which returns a `result` or None for no line.

    A batch is running for the first `looks` status requests. `paid` counts how often each text was asked about.
    """

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, method, path, body, kind):
        if method == "POST":
            return self.start(json.loads(body)["requests"])
        if path == "/v1/messages/batches":
            return self.page({name: value[0] for name, value in parse_qs(urlsplit(self.line).query).items()})
        name = path.split("/")[4]
        return self.files[name] if path.endswith("/results") else self.look(self.jobs[name])

    def page(self, query):
        """Return `limit` of the batches that are older than `after_id`, the newest first."""
        names = list(self.jobs)[::-1]
        names = names[names.index(query["after_id"]) + 1 :] if "after_id" in query else names
        shown = names[: int(query["limit"])]
        return {"data": [self.jobs[name] for name in shown], "has_more": len(shown) < len(names),
                "first_id": shown[0] if shown else None, "last_id": shown[-1] if shown else None}  # fmt: skip

    def start(self, questions):
        assert all(0 < len(question["custom_id"]) <= 64 for question in questions)
        assert len({question["custom_id"] for question in questions}) == len(questions)
        self.paid.update(text_of(question) for question in questions)
        self.sizes.append(len(questions))
        name = f"msgbatch_{len(self.jobs)}"
        none = dict.fromkeys(("succeeded", "errored", "canceled", "expired"), 0)
        self.jobs[name] = {
            "id": name, "type": "message_batch", "processing_status": "in_progress", "results_url": None,
            "created_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z",
            "request_counts": none | {"processing": len(questions)},
        }  # fmt: skip
        self.files[name] = questions
        self.left = {**getattr(self, "left", {}), name: self.looks}
        return self.jobs[name]

    def look(self, job):
        name = job["id"]
        self.left[name] -= 1
        if self.left[name] >= 0 or job["processing_status"] == "ended":
            return job
        results = [(one["custom_id"], self.script(one, self.paid[text_of(one)])) for one in self.files[name]]
        lines = [json.dumps({"custom_id": id_, "result": result}) for id_, result in results if result is not None]
        # Results arrive in arbitrary order.
        self.files[name] = "".join(f"{line}\n" for line in lines[::-1]).encode()
        counts = dict.fromkeys(job["request_counts"], 0)
        for _, result in results:
            counts[result["type"] if result else "expired"] += 1
        job |= {"processing_status": "ended", "request_counts": counts, "results_url": f"{self.url}/elsewhere"}
        return job


def text_of(question):
    return question["params"]["messages"][-1]["content"]


def succeeded(text, stop="end_turn"):
    """Return the result of a question that the model answered."""
    usage = {"input_tokens": 100, "output_tokens": 20}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": stop,
               "content": [{"type": "text", "text": text}], "usage": usage}  # fmt: skip
    return {"type": "succeeded", "message": message}


def errored(kind, text="no"):
    return {"type": "errored", "error": {"type": "error", "error": {"type": kind, "message": text}}}

"""A real HTTP server on loopback with OpenAI's `/files` and `/batches`, for tests of batch labelling."""

import json
import sys
import threading
from collections import Counter
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def line(key, content=None, *, status=200, body=None, error=None):
    """Return a line of a job's output."""
    if error is not None:
        return {"custom_id": key, "response": None, "error": {"code": "x", "message": error}}
    if body is None:
        message = {"role": "assistant", "content": content}
        usage = {"prompt_tokens": 100, "completion_tokens": 20}
        body = {"choices": [{"index": 0, "finish_reason": "stop", "message": message}], "usage": usage}
    return {"custom_id": key, "response": {"status_code": status, "body": body}, "error": None}


class BatchServer(ThreadingHTTPServer):
    """Answers each question of a job by `script(question, times)`, which returns a line or None for no answer.

    A job is running for the first `looks` status requests. `paid` counts how often each question was in a started job.
    `before` is called with each request's number and line. If it returns a value, the connection is dropped without an
    answer; with "undone", the request is not carried out either.
    """

    daemon_threads = True

    def __init__(self, script, *, looks=1, keeps_tags=True, status="completed", before=None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.looks, self.keeps_tags, self.status = script, looks, keeps_tags, status
        self.before = before or (lambda number, request: None)
        self.files, self.jobs = {}, {}
        self.paid, self.sizes = Counter(), []
        self.numbers = 0
        self.lock = threading.Lock()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        # The client process was killed.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def answer(self, method, path, body, kind):
        if (method, path) == ("POST", "/v1/files"):
            message = message_from_bytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + body)
            parts = {part.get_param("name", header="content-disposition"): part for part in message.get_payload()}
            name = f"file-{len(self.files)}"
            self.files[name] = parts["file"].get_payload(decode=True)
            return {"id": name, "object": "file", "bytes": 1, "created_at": 0, "filename": "f", "purpose": "batch",
                    "status": "processed"}  # fmt: skip
        if path.startswith("/v1/files/"):
            return self.files[path.split("/")[3]]
        if (method, path) == ("POST", "/v1/batches"):
            return self.start(json.loads(body))
        if path == "/v1/batches":
            return {"object": "list", "data": list(self.jobs.values())[::-1], "has_more": False}
        return self.look(self.jobs[path.split("/")[3]])

    def start(self, asked):
        name = f"batch-{len(self.jobs)}"
        questions = [json.loads(text) for text in self.files[asked["input_file_id"]].splitlines()]
        self.paid.update(question["custom_id"] for question in questions)
        self.sizes.append(len(questions))
        self.jobs[name] = {
            "id": name, "object": "batch", "endpoint": asked["endpoint"], "input_file_id": asked["input_file_id"],
            "completion_window": "24h", "created_at": 0, "status": "in_progress",
            "metadata": asked["metadata"] if self.keeps_tags else None,
        }  # fmt: skip
        self.jobs[name]["left"] = self.looks
        return self.jobs[name]

    def look(self, job):
        job["left"] -= 1
        if job["left"] >= 0 or job["status"] != "in_progress":
            return job
        questions = [json.loads(text) for text in self.files[job["input_file_id"]].splitlines()]
        lines = [self.script(question, self.paid[question["custom_id"]]) for question in questions]
        for field, wanted in (("output_file_id", 200), ("error_file_id", None)):
            kept = [one for one in lines if one is not None and ((one["response"] is None) == (wanted is None))]
            if kept:
                job[field] = f"file-{len(self.files)}"
                self.files[job[field]] = "".join(json.dumps(one) + "\n" for one in kept).encode()
        job["status"] = self.status
        return job


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._do("GET")

    def do_POST(self):
        self._do("POST")

    def _do(self, method):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        with self.server.lock:
            self.server.numbers += 1
            self.server.line = self.path
            drop = self.server.before(self.server.numbers, f"{method} {self.path}")
            if drop != "undone":
                found = self.server.answer(method, self.path.split("?")[0], body, self.headers.get("content-type", ""))
        if drop is not None:
            self.close_connection = True
            return
        data = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass

"""A local HTTP endpoint that speaks the wire format of Anthropic's Messages API and its batches."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = {
    "person_visible": True,
    "situation": "The train she waited for all night rolls in with her brother at the window.",
    "quote": "There he is, third carriage, do you see him?",
}
STAMP = "2026-11-25T10:00:00Z"

Reply = dict[str, Any]


def message(content: list[dict[str, Any]], stop: str = "end_turn") -> Reply:
    """The body of a reply of the Messages API."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-test",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 500, "output_tokens": 60},
    }


def in_words(fields: object, stop: str = "end_turn") -> Reply:
    text = fields if isinstance(fields, str) else json.dumps(fields)
    return message([{"type": "text", "text": text}], stop)


def by_tool(request: Reply, fields: object) -> Reply:
    assert request["tool_choice"] == {"type": "tool", "name": request["tools"][0]["name"]}
    use = {"type": "tool_use", "id": "toolu_1", "name": request["tools"][0]["name"]}
    return message([use | {"input": fields}], "tool_use")


def answer_well(request: Reply) -> Reply:
    """As a model does that is held to the form it was asked for."""
    check_request(request)
    if "tools" in request:
        return by_tool(request, GOOD)
    return in_words(GOOD)


def check_request(request: Reply) -> None:
    """What the real service would refuse is refused here too."""
    assert request["model"] and request["max_tokens"] > 0 and isinstance(request["system"], str)
    schema = (
        request["tools"][0]["input_schema"]
        if "tools" in request
        else request["output_config"]["format"]["schema"]
    )
    assert schema["additionalProperties"] is False
    assert schema["required"] == list(schema["properties"])
    for block in request["messages"][0]["content"]:
        if block["type"] == "image":
            assert block["source"]["media_type"] == "image/jpeg"
            assert base64.b64decode(block["source"]["data"]).startswith(b"\xff\xd8\xff")


@dataclass
class Endpoint:
    """The state of the endpoint, and what it was asked.

    Attributes:
        url: to give to the SDK.
        reply: what a request is answered with.
        errors: statuses of the next requests, each taken once, before anything is answered.
        delay_s: of each answer.
        seen: how often each picture was sent and answered.
        requests: all bodies, in order.
        batches: what was handed in, by name.
        looks: how often a batch is still under way when it is looked at.
        lose_next_batch: the next batch is taken, but the connection breaks before the reply.
    """

    url: str = ""
    reply: Callable[[Reply], Reply] = answer_well
    errors: list[int] = field(default_factory=list)
    delay_s: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    requests: list[Reply] = field(default_factory=list)
    batches: dict[str, list[Reply]] = field(default_factory=dict)
    looks: int = 1
    lose_next_batch: bool = False
    results_of: Callable[[Reply], Reply] | None = None

    def answer(self, request: Reply) -> Reply:
        body = self.reply(request)
        self.requests.append(request)
        self.seen[picture_of(request)] += 1
        return body


def picture_of(request: Reply) -> str:
    for block in request["messages"][0]["content"]:
        if block["type"] == "image":
            return str(block["source"]["data"])
    return ""


@contextmanager
def serve(endpoint: Endpoint) -> Iterator[Endpoint]:
    """Serve until the end of the block."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.headers["Authorization"] == "Bearer test-key"
            assert self.headers["anthropic-version"]
            if self.path == "/v1/messages/batches":
                self.new_batch(body)
                return
            assert self.path == "/v1/messages"
            time.sleep(endpoint.delay_s)
            with lock:
                if endpoint.errors:
                    self.fail(endpoint.errors.pop(0))
                else:
                    self.send(200, endpoint.answer(body))

        def new_batch(self, body: Reply) -> None:
            with lock:
                name = f"msgbatch_{len(endpoint.batches)}"
                endpoint.batches[name] = body["requests"]
                if endpoint.lose_next_batch:
                    endpoint.lose_next_batch = False
                    self.close_connection = True
                    return
                self.send(200, self.batch(name))

        def do_GET(self) -> None:
            parts = self.path.partition("?")[0].strip("/").split("/")
            if parts == ["v1", "messages", "batches"]:
                data = [self.batch(name) for name in reversed(endpoint.batches)]
                page = {"data": data, "has_more": False, "first_id": None, "last_id": None}
                self.send(200, page)
            elif parts[-1] == "results":
                lines = [json.dumps(self.result(r)) for r in reversed(endpoint.batches[parts[-2]])]
                self.raw(200, "\n".join(lines).encode(), "application/x-jsonl")
            else:
                endpoint.looks -= 1
                self.send(200, self.batch(parts[-1]))

        def batch(self, name: str) -> Reply:
            count = len(endpoint.batches[name])
            ended = endpoint.looks <= 0
            counts = {"processing": 0 if ended else count, "succeeded": count if ended else 0}
            return {
                "id": name,
                "type": "message_batch",
                "processing_status": "ended" if ended else "in_progress",
                "request_counts": counts | {"errored": 0, "canceled": 0, "expired": 0},
                "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "expires_at": "2099-01-01T00:00:00Z",
                "ended_at": STAMP if ended else None,
                "archived_at": None,
                "cancel_initiated_at": None,
                "results_url": f"{endpoint.url}/v1/messages/batches/{name}/results",
            }

        def result(self, request: Reply) -> Reply:
            result = (
                endpoint.results_of(request)
                if endpoint.results_of
                else {"type": "succeeded", "message": endpoint.answer(request["params"])}
            )
            return {"custom_id": request["custom_id"], "result": result}

        def fail(self, status: int) -> None:
            kinds = {429: "rate_limit_error", 529: "overloaded_error", 401: "authentication_error"}
            kind = kinds.get(status, "invalid_request_error")
            error = {"type": "error", "error": {"type": kind, "message": f"{kind} it is"}}
            self.send(status, error)

        def send(self, status: int, body: Reply) -> None:
            self.raw(status, json.dumps(body).encode(), "application/json")

        def raw(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if status in (429, 529):
                self.send_header("retry-after", "0.01")
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

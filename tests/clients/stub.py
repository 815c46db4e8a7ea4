#!/usr/bin/env python3
"""A stub provider that speaks the three dialects: answers, streams, tools, and faults told by the model's name.

    stub.py [PORT]        on 127.0.0.1; prints the port

If tools are offered, none of them has given a result yet, and one of them is a shell or `get_weather`, it calls that one; else it
says "pong". A model whose name contains

    fail-<status>   is refused with that status in the dialect's form
    cut             breaks off in the middle of its answer
    broken          sends an error event in the middle of its stream

`GET /_requests` answers with what was received: a list of {method, path, headers, model, stream, tool_ok:
the result of the tool stands in it}. Python 3.11, standard library only.
"""
import base64
import json
import re
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SHELLS = ("Bash", "exec_command", "shell_command", "shell", "local_shell", "run_shell_command", "bash")
KINDS = {400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
         413: "request_too_large", 422: "invalid_request_error", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error"}
STATUSES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED",
            500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


class Stub:
    """The server, on a thread of its own."""

    def __init__(self, port=0):
        self.requests, self.lock = [], threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads, self.server.stub = True, self
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def note(self, request):
        with self.lock:
            self.requests.append(request)

    def stop(self):
        self.server.shutdown()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    # -------------------------------------------------------------- reading

    def do_GET(self):
        raw = b""
        if self.path == "/_requests":
            with self.server.stub.lock:
                return self.json(200, self.server.stub.requests)
        self.serve({}, raw)

    def do_POST(self):
        if "chunked" in self.headers.get("transfer-encoding", ""):
            raw = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                raw += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body = json.loads(raw)
        except ValueError:
            model = re.search(rb'name="model"\r\n\r\n([^\r]*)', raw)
            body = {"model": model.group(1).decode() if model else "", "bytes": len(raw)}
        self.serve(body, raw)

    def serve(self, body, raw):
        path = self.path.split("?")[0]
        in_path = re.search(r"/models/([^/:]+):(\w+)$", path.replace("%3A", ":"))
        self.dialect = "gemini" if in_path else "anthropic" if "/messages" in path else "openai"
        self.model = in_path.group(1) if in_path else str(body.get("model", ""))
        self.body, self.tail = body, in_path.group(2) if in_path else path.rsplit("/v1/", 1)[-1].strip("/")
        self.streams = bool(body.get("stream")) or self.tail == "streamGenerateContent"
        self.server.stub.note({"method": self.command, "path": self.path, "headers": list(self.headers.items()), "model": self.model,
                               "stream": self.streams, "tool_ok": re.search(rb"(?<!echo )tool-ok", raw) is not None})
        if fail := re.search(r"fail-(\d{3})", self.model):
            return self.refuse(int(fail.group(1)))
        answers = {"messages": self.messages, "messages/count_tokens": lambda: self.json(200, {"input_tokens": 12}),
                   "chat/completions": self.chat, "responses": self.respond, "embeddings": self.embeddings,
                   "completions": self.completions, "moderations": self.moderations, "audio/speech": self.speech,
                   "audio/transcriptions": lambda: self.json(200, {"text": "pong"}), "images/generations": self.images,
                   "generateContent": self.generate, "streamGenerateContent": self.generate_stream,
                   "countTokens": lambda: self.json(200, {"totalTokens": 12}), "batchEmbedContents": self.embed_batch,
                   "embedContent": lambda: self.json(200, {"embedding": {"values": [0.5, -0.5]}})}
        answer = answers.get(self.tail)
        return answer() if answer else self.json(404, {"error": {"message": f"no {path} here", "type": "not_found_error", "code": None}})

    # -------------------------------------------------------------- writing

    def json(self, status, body, **headers):
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(raw)

    def refuse(self, status):
        kind, message = KINDS.get(status, "api_error"), f"the stub refuses {self.model}"
        if self.dialect == "anthropic":
            body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_stub"}
        elif self.dialect == "gemini":
            body = {"error": {"code": status, "message": message, "status": STATUSES.get(status, "UNKNOWN")}}
        else:
            body = {"error": {"message": message, "type": kind, "param": None, "code": f"stub_{status}"}}
        self.json(status, body)

    def events(self, events, end="\n\n"):
        """Sends an event stream, one chunk an event; a model called `cut` or `broken` does not come to its end."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        middle = len(events) // 2 + 1
        for at, event in enumerate(events):
            if at == middle and "cut" in self.model:
                self.close_connection = True
                return self.connection.shutdown(2)
            if at == middle and "broken" in self.model:
                self.chunk(self.error_event() + end)
                break
            self.chunk(event + end)
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, text):
        raw = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(raw), raw))
        self.wfile.flush()

    def error_event(self):
        if self.dialect == "anthropic":
            return named({"type": "error", "error": {"type": "overloaded_error", "message": "the stub breaks"}})
        if self.tail == "responses":
            error = {"code": "server_error", "message": "the stub breaks"}
            return named({"type": "response.failed", "sequence_number": 99, "response": {**self.bare_response("failed"), "error": error}})
        if self.dialect == "gemini":
            return data({"error": {"code": 503, "message": "the stub breaks", "status": "UNAVAILABLE"}})
        return data({"error": {"message": "the stub breaks", "type": "server_error", "param": None, "code": "stub_broken"}})

    # -------------------------------------------------------------- tools

    def tool_call(self, tools, has_result):
        """-> (name, arguments) of the tool to call now, or None. `tools`: list of (name, schema)"""
        if has_result:
            return None
        for name, schema in tools:
            if name in SHELLS:
                return name, shell_arguments(schema)
            if name == "get_weather":
                return name, {"city": "Paris"}
        return None

    # -------------------------------------------------------------- anthropic

    def messages(self):
        tools = [(t.get("name"), t.get("input_schema") or {}) for t in self.body.get("tools", [])]
        blocks = [b for m in self.body.get("messages", []) if isinstance(m.get("content"), list) for b in m["content"]]
        call = self.tool_call(tools, any(b.get("type") == "tool_result" for b in blocks))
        usage = {"input_tokens": 12, "output_tokens": 5}
        message = {"id": "msg_stub", "type": "message", "role": "assistant", "model": self.model, "content": [], "stop_reason": None,
                   "stop_sequence": None, "usage": {"input_tokens": 12, "output_tokens": 1}}
        stop = "tool_use" if call else "end_turn"
        block = {"type": "tool_use", "id": "toolu_stub", "name": call[0], "input": call[1]} if call else {"type": "text", "text": "pong"}
        if not self.streams:
            return self.json(200, {**message, "content": [block], "stop_reason": stop, "usage": usage}, request_id="req_stub")
        if call:
            text = json.dumps(call[1])
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in (text[:5], text[5:])]
            start = {**block, "input": {}}
        else:
            deltas = [{"type": "text_delta", "text": piece} for piece in ("po", "ng")]
            start = {"type": "text", "text": ""}
        self.events([named(e) for e in (
            {"type": "message_start", "message": message}, {"type": "ping"},
            {"type": "content_block_start", "index": 0, "content_block": start},
            *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 5}},
            {"type": "message_stop"})])

    # -------------------------------------------------------------- openai

    def chat(self):
        tools = [(t["function"]["name"], t["function"].get("parameters") or {}) for t in self.body.get("tools", []) if "function" in t]
        call = self.tool_call(tools, any(m.get("role") == "tool" for m in self.body.get("messages", [])))
        usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
        base = {"id": "chatcmpl-stub", "created": 1, "model": self.model}
        finish = "tool_calls" if call else "stop"
        calls = [{"id": "call_stub", "type": "function", "function": {"name": call[0], "arguments": json.dumps(call[1])}}] if call else None
        if not self.streams:
            message = {"role": "assistant", "content": None if call else "pong", **({"tool_calls": calls} if call else {})}
            choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
            return self.json(200, {**base, "object": "chat.completion", "choices": [choice], "usage": usage}, x_request_id="req_stub")

        def chunk(delta, finish=None):
            return data({**base, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        deltas = [{"tool_calls": [{"index": 0, **calls[0]}]}] if call else [{"content": "po"}, {"content": "ng"}]
        events = [chunk({"role": "assistant", "content": None if call else ""}), *map(chunk, deltas), chunk({}, finish)]
        if (self.body.get("stream_options") or {}).get("include_usage"):
            events.append(data({**base, "object": "chat.completion.chunk", "choices": [], "usage": usage}))
        self.events([*events, "data: [DONE]"])

    def completions(self):
        self.json(200, {"id": "cmpl-stub", "object": "text_completion", "created": 1, "model": self.model,
                        "choices": [{"text": "pong", "index": 0, "finish_reason": "stop", "logprobs": None}],
                        "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}})

    def bare_response(self, status, output=()):
        done = {"usage": {"input_tokens": 12, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5,
                          "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 17}} if status == "completed" else {}
        return {"id": "resp_stub", "object": "response", "created_at": 1, "status": status, "error": None, "incomplete_details": None,
                "instructions": None, "metadata": {}, "model": self.model, "output": list(output), "parallel_tool_calls": True,
                "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0, **done}

    def respond(self):
        tools = [(t.get("name") or t.get("type"), t.get("parameters") or {}) for t in self.body.get("tools", [])]
        given = self.body.get("input")
        results = any(i.get("type", "").endswith("_output") for i in given) if isinstance(given, list) else False
        call = self.tool_call(tools, results)
        if call:
            item = {"id": "fc_stub", "type": "function_call", "status": "completed", "call_id": "call_stub", "name": call[0],
                    "arguments": json.dumps(call[1])}
        else:
            item = {"id": "msg_stub", "type": "message", "status": "completed", "role": "assistant",
                    "content": [{"type": "output_text", "text": "pong", "annotations": [], "logprobs": []}]}
        if not self.streams:
            return self.json(200, self.bare_response("completed", [item]))
        place = {"item_id": item["id"], "output_index": 0}
        if call:
            start = {**item, "status": "in_progress", "arguments": ""}
            middle = [{"type": "response.function_call_arguments.delta", **place, "delta": item["arguments"]},
                      {"type": "response.function_call_arguments.done", **place, "arguments": item["arguments"], "name": call[0]}]
        else:
            start, part, place = {**item, "status": "in_progress", "content": []}, item["content"][0], {**place, "content_index": 0}
            middle = [{"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
                      *({"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in ("po", "ng")),
                      {"type": "response.output_text.done", **place, "text": "pong", "logprobs": []},
                      {"type": "response.content_part.done", **place, "part": part}]
        events = [{"type": "response.created", "response": self.bare_response("in_progress")},
                  {"type": "response.in_progress", "response": self.bare_response("in_progress")},
                  {"type": "response.output_item.added", "output_index": 0, "item": start}, *middle,
                  {"type": "response.output_item.done", "output_index": 0, "item": item},
                  {"type": "response.completed", "response": self.bare_response("completed", [item])}]
        self.events([named({**event, "sequence_number": at}) for at, event in enumerate(events)])

    def embeddings(self):
        vector = [0.5, -0.5]
        if self.body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack("<2f", *vector)).decode()
        self.json(200, {"object": "list", "model": self.model, "data": [{"object": "embedding", "index": 0, "embedding": vector}],
                        "usage": {"prompt_tokens": 12, "total_tokens": 12}})

    def moderations(self):
        self.json(200, {"id": "modr-stub", "model": self.model, "results": [{"flagged": False, "categories": {}, "category_scores": {}}]})

    def images(self):
        self.json(200, {"created": 1, "data": [{"b64_json": base64.b64encode(b"pong").decode()}]})

    def speech(self):
        self.send_response(200)
        self.send_header("content-type", "audio/mpeg")
        self.send_header("content-length", "4")
        self.end_headers()
        self.wfile.write(b"pong")

    # -------------------------------------------------------------- gemini

    def generated(self, parts, last):
        answer = {"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0}], "modelVersion": self.model, "responseId": "stub"}
        if last:
            answer["candidates"][0]["finishReason"] = "STOP"
            answer["usageMetadata"] = {"promptTokenCount": 12, "candidatesTokenCount": 5, "totalTokenCount": 17}
        return answer

    def gemini_parts(self):
        declared = [d for t in self.body.get("tools", []) for d in t.get("functionDeclarations", [])]
        tools = [(d["name"], d.get("parametersJsonSchema") or d.get("parameters") or {}) for d in declared]
        parts = [p for c in self.body.get("contents", []) for p in c.get("parts", [])]
        call = self.tool_call(tools, any("functionResponse" in p for p in parts))
        return [[{"functionCall": {"name": call[0], "args": call[1]}}]] if call else [[{"text": "po"}], [{"text": "ng"}]]

    def generate(self):
        parts = self.gemini_parts()
        text = parts[0] if len(parts) == 1 else [{"text": "pong"}]
        if (self.body.get("generationConfig") or {}).get("responseMimeType") == "application/json":
            text = [{"text": "{}"}]
        self.json(200, self.generated(text, True))

    def generate_stream(self):
        parts = self.gemini_parts()
        events = [self.generated(part, at == len(parts) - 1) for at, part in enumerate(parts)]
        if "alt=sse" in self.path:
            if "cut" in self.model or "broken" in self.model:
                events.append(events[-1])
            return self.events([data(event) for event in events], "\r\n\r\n")
        self.json(200, events)

    def embed_batch(self):
        self.json(200, {"embeddings": [{"values": [0.5, -0.5]} for _ in self.body.get("requests", [0])]})


def data(value):
    return "data: " + json.dumps(value)


def named(value):
    return f"event: {value['type']}\ndata: {json.dumps(value)}"


def shell_arguments(schema):
    """What to give a shell tool so that it says tool-ok, whatever it calls its parameters."""
    properties, arguments = schema.get("properties") or {"command": {"type": "string"}}, {}
    for name, what in properties.items():
        if name in ("command", "cmd"):
            kind = str(what.get("type", "string")).lower()
            arguments[name] = ["bash", "-lc", "echo tool-ok"] if kind == "array" else "echo tool-ok"
        elif name in schema.get("required", []):
            kind = str(what.get("type", "string")).lower()
            arguments[name] = {"boolean": False, "integer": 1000, "number": 1000, "array": [], "object": {}}.get(kind, "Say tool-ok")
    return arguments


if __name__ == "__main__":
    stub = Stub(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(stub.port, flush=True)
    threading.Event().wait()

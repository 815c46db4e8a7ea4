"""The official Python SDKs, unmodified, against a gateway: only base URL and key are set.

Environment: GATEWAY (http://host:port), KEY, LIMITED_KEY (may use only *-small models). One line a check; exit 1 if one fails.
"""
import os
import sys
import traceback

import anthropic
import openai
from google import genai
from google.genai import errors, types

GATEWAY, KEY, LIMITED = os.environ["GATEWAY"], os.environ["KEY"], os.environ["LIMITED_KEY"]
BAD = "aicp_us_ann_ffffffffffffffffffffffffffffffff"
DIRECT = os.environ.get("DIRECT") == "1"  # against the stub itself: what only a gateway does is left out
failed = []


def check(name):
    def run(test):
        try:
            test()
        except Exception as fault:
            failed.append(name)
            place = traceback.extract_tb(fault.__traceback__)
            mine = [f for f in place if f.filename == __file__][-1]
            print(f"FAIL python {name}: {type(fault).__name__}: {fault} (line {mine.lineno}: {mine.line})", flush=True)
        else:
            print(f"ok   python {name}", flush=True)
    return run


def only_gateway(name):
    return (lambda test: None) if DIRECT else check(name)


def raises(kind, call, **fields):
    """That `call` raises exactly this class, with these fields."""
    try:
        call()
    except Exception as fault:
        assert type(fault) is kind, f"raised {type(fault).__name__}: {fault}"
        for field, value in fields.items():
            assert getattr(fault, field) == value, f"{field} is {getattr(fault, field)!r}, not {value!r}"
        return fault
    raise AssertionError(f"{kind.__name__} was not raised")


PING = [{"role": "user", "content": "ping"}]

# ------------------------------------------------------------------ openai


def openai_client(key=KEY, retries=0, base="/api/v1"):
    return openai.OpenAI(base_url=GATEWAY + ("/v1" if DIRECT else base), api_key=key, max_retries=retries)


client = openai_client()
OPENAI_TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


@check("openai chat")
def _():
    answer = client.chat.completions.create(model="gpt-4o", messages=PING)
    assert answer.choices[0].message.content == "pong" and answer.usage.total_tokens == 17
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=PING)
    assert raw.request_id, "no x-request-id"


@only_gateway("openai chat with every base")
def _():
    for base in ("/v1", "/api/v1", "/api/ai-proxy", "/api/ai-proxy/v1", "", "/openai/v1"):
        answer = openai_client(base=base).chat.completions.create(model="gpt-4o", messages=PING)
        assert answer.choices[0].message.content == "pong", base


@check("openai chat stream")
def _():
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=PING, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "pong"
    assert all(c.choices for c in chunks) and not any(c.usage for c in chunks), "a usage chunk that was not asked for"


@check("openai chat stream with usage")
def _():
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=PING, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.total_tokens == 17 and not chunks[-1].choices


@check("openai chat tools, round trip")
def _():
    answer = client.chat.completions.create(model="gpt-4o", messages=PING, tools=[OPENAI_TOOL])
    call = answer.choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city": "Paris"}')
    history = [*PING, answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    answer = client.chat.completions.create(model="gpt-4o", messages=history, tools=[OPENAI_TOOL])
    assert answer.choices[0].message.content == "pong"


@check("openai chat tools, stream helper")
def _():
    with client.chat.completions.stream(model="gpt-4o", messages=PING, tools=[OPENAI_TOOL]) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"city": "Paris"}'


@check("openai responses")
def _():
    answer = client.responses.create(model="gpt-5", input="ping")
    assert answer.output_text == "pong" and answer.usage.input_tokens == 12


@check("openai responses stream")
def _():
    events = list(client.responses.create(model="gpt-5", input="ping", stream=True))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == "pong"
    assert events[-1].type == "response.completed" and events[-1].response.usage.output_tokens == 5
    with client.responses.stream(model="gpt-5", input="ping") as stream:
        assert stream.get_final_response().output_text == "pong"


@check("openai responses tools")
def _():
    tool = {"type": "function", "name": "get_weather", "parameters": OPENAI_TOOL["function"]["parameters"]}
    answer = client.responses.create(model="gpt-5", input="ping", tools=[tool])
    assert (answer.output[0].type, answer.output[0].arguments) == ("function_call", '{"city": "Paris"}')


@check("openai embeddings, completions, moderations, images, speech, transcription")
def _():
    assert client.embeddings.create(model="text-embedding-3-small", input="x").data[0].embedding == [0.5, -0.5]
    assert client.completions.create(model="gpt-3.5-turbo-instruct", prompt="x").choices[0].text == "pong"
    assert client.moderations.create(model="omni-moderation-latest", input="x").results[0].flagged is False
    assert client.images.generate(model="gpt-image-1", prompt="x").data[0].b64_json == "cG9uZw=="
    assert client.audio.speech.create(model="gpt-4o-mini-tts", voice="alloy", input="x").content == b"pong"
    sound = ("x.wav", b"RIFF" + bytes(70_000), "audio/wav")
    assert client.audio.transcriptions.create(model="whisper-1", file=sound).text == "pong"


@only_gateway("openai models")
def _():
    ids = [m.id for m in client.models.list()]
    assert "gpt-4o" in ids, ids
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"


@only_gateway("openai errors of the gateway")
def _():
    def ask(key=KEY, **given):
        return lambda: openai_client(key).chat.completions.create(**{"model": "gpt-4o", "messages": PING, **given})
    raises(openai.AuthenticationError, ask(BAD), code="invalid_api_key", type="invalid_request_error")
    raises(openai.AuthenticationError, ask("sk-something"), code="invalid_api_key")
    raises(openai.PermissionDeniedError, ask(LIMITED), code="model_not_allowed", type="permission_error")
    raises(openai.NotFoundError, ask(model="none-such"), code="model_not_found")
    raises(openai.NotFoundError, lambda: client.get("/nothing", cast_to=object), code="unknown_url")
    raises(openai.PermissionDeniedError, lambda: client.files.list(), code="operation_not_allowed")
    raises(openai.BadRequestError, lambda: client.post("/chat/completions", body={"messages": []}, cast_to=object))
    # With its usual retries the client gives up at once: `x-should-retry: false`.
    raises(openai.AuthenticationError, lambda: openai_client(BAD, 2).responses.create(model="gpt-5", input="x"), code="invalid_api_key")


@check("openai errors of the provider")
def _():
    classes = {400: openai.BadRequestError, 422: openai.UnprocessableEntityError, 429: openai.RateLimitError,
               500: openai.InternalServerError, 529: openai.InternalServerError}
    for status, kind in classes.items():
        for stream in (False, True):
            fault = raises(kind, lambda: client.chat.completions.create(model=f"gpt-fail-{status}-{stream}", messages=PING, stream=stream), status_code=status)
            assert fault.code == f"stub_{status}" and "the stub refuses" in fault.message


@check("openai errors inside a stream")
def _():
    raises(openai.APIError, lambda: list(client.chat.completions.create(model="gpt-broken", messages=PING, stream=True)), code="stub_broken")
    events = list(client.responses.create(model="gpt-broken", input="x", stream=True))
    assert events[-1].type == "response.failed" and events[-1].response.error.code == "server_error"


@only_gateway("openai cut streams end in an error")
def _():
    raises(openai.APIError, lambda: list(client.chat.completions.create(model="gpt-cut", messages=PING, stream=True)))
    events = list(client.responses.create(model="gpt-cut", input="x", stream=True))
    assert events[-1].type == "response.failed" and events[-1].response.error.code == "server_error"


# ------------------------------------------------------------------ anthropic


def anthropic_client(key=KEY, retries=0, base=""):
    return anthropic.Anthropic(base_url=GATEWAY + base, api_key=key, max_retries=retries)


claude = anthropic_client()
ASK = {"model": "claude-sonnet-4-5", "max_tokens": 64, "messages": PING}
ANTHROPIC_TOOL = {"name": "get_weather", "description": "The weather", "input_schema": OPENAI_TOOL["function"]["parameters"]}


@check("anthropic messages")
def _():
    answer = claude.messages.create(**ASK)
    assert answer.content[0].text == "pong" and answer.usage.output_tokens == 5


@only_gateway("anthropic messages with every base")
def _():
    for base in ("", "/api/v1", "/api", "/api/ai-proxy", "/anthropic"):
        assert anthropic_client(base=base).messages.create(**ASK).content[0].text == "pong", base
    bearer = anthropic.Anthropic(base_url=GATEWAY, auth_token=KEY, api_key=None, max_retries=0)
    assert bearer.messages.create(**ASK).content[0].text == "pong"


@check("anthropic stream")
def _():
    events = list(claude.messages.create(**ASK, stream=True))
    assert events[0].type == "message_start" and events[-1].type == "message_stop"
    with claude.messages.stream(**ASK) as stream:
        assert "".join(stream.text_stream) == "pong"
        assert stream.get_final_message().usage.output_tokens == 5


@check("anthropic tools, round trip")
def _():
    answer = claude.messages.create(**ASK, tools=[ANTHROPIC_TOOL])
    call = answer.content[0]
    assert (answer.stop_reason, call.name, call.input) == ("tool_use", "get_weather", {"city": "Paris"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    history = [*PING, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    assert claude.messages.create(**{**ASK, "messages": history}, tools=[ANTHROPIC_TOOL]).content[0].text == "pong"
    with claude.messages.stream(**ASK, tools=[ANTHROPIC_TOOL]) as stream:
        assert stream.get_final_message().content[0].input == {"city": "Paris"}


@check("anthropic token counting")
def _():
    assert claude.messages.count_tokens(model=ASK["model"], messages=PING).input_tokens == 12


@check("anthropic beta headers")
def _():
    assert claude.beta.messages.create(**ASK, betas=["b1"]).content[0].text == "pong"


@only_gateway("anthropic models")
def _():
    ids = [m.id for m in claude.models.list(limit=1000)]
    assert "claude-sonnet-4-5" in ids, ids
    assert claude.models.retrieve("claude-sonnet-4-5").id == "claude-sonnet-4-5"
    paged = [m.id for m in claude.models.list(limit=2)]
    assert paged == ids, (paged, ids)


@only_gateway("anthropic errors of the gateway")
def _():
    def ask(key=KEY, **given):
        return lambda: anthropic_client(key).messages.create(**{**ASK, **given})
    fault = raises(anthropic.AuthenticationError, ask(BAD), type="authentication_error")
    assert fault.body["error"]["type"] == "authentication_error" and fault.body["request_id"]
    raises(anthropic.PermissionDeniedError, ask(LIMITED), type="permission_error")
    raises(anthropic.NotFoundError, ask(model="none-such"), type="not_found_error")
    raises(anthropic.BadRequestError, lambda: claude.post("/v1/messages", body={"messages": []}, cast_to=object), type="invalid_request_error")
    raises(anthropic.AuthenticationError, lambda: anthropic_client(BAD, 2).messages.create(**ASK))


@check("anthropic errors of the provider")
def _():
    classes = {400: anthropic.BadRequestError, 413: None, 422: anthropic.UnprocessableEntityError, 429: anthropic.RateLimitError,
               500: anthropic.InternalServerError, 529: None}
    for status, kind in classes.items():
        for stream in (False, True):
            try:
                # A limit holds for the whole family of a model: each limited request has one of its own.
                family = {(429, False): "haiku", (429, True): "opus"}.get((status, stream), "sonnet")
                claude.messages.create(**{**ASK, "model": f"claude-{family}-{stream}-fail-{status}"}, stream=stream)
                raise AssertionError(f"{status} did not raise")
            except anthropic.APIStatusError as fault:
                assert fault.status_code == status and (kind is None or type(fault) is kind), repr(fault)
                assert "the stub refuses" in str(fault), fault


@check("anthropic errors inside a stream")
def _():
    fault = raises(anthropic.APIStatusError, lambda: list(claude.messages.create(**{**ASK, "model": "claude-broken"}, stream=True)), type="overloaded_error")
    assert "the stub breaks" in str(fault)


@only_gateway("anthropic cut streams end in an error")
def _():
    try:
        list(claude.messages.create(**{**ASK, "model": "claude-cut"}, stream=True))
        raise AssertionError("nothing raised")
    except anthropic.APIStatusError as fault:
        assert fault.status_code == 200, fault


# ------------------------------------------------------------------ google-genai


def genai_client(key=KEY, base="/api/ai-proxy"):
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=GATEWAY + ("" if DIRECT else base)))


gemini = genai_client()
WEATHER = types.Tool(function_declarations=[types.FunctionDeclaration(name="get_weather", description="The weather", parameters=types.Schema(
    type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING)}))])


@check("genai generate")
def _():
    answer = gemini.models.generate_content(model="gemini-2.5-pro", contents="ping")
    assert answer.text == "pong" and answer.usage_metadata.total_token_count == 17


@only_gateway("genai generate with every base")
def _():
    for base in ("", "/api/v1", "/api", "/gemini"):
        with genai_client(base=base) as client:
            assert client.models.generate_content(model="gemini-2.5-pro", contents="ping").text == "pong", base
    for version in ("v1", "v1beta"):
        with genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=GATEWAY, api_version=version)) as client:
            assert client.models.generate_content(model="gemini-2.5-pro", contents="ping").text == "pong", version


@check("genai stream")
def _():
    chunks = list(gemini.models.generate_content_stream(model="gemini-2.5-pro", contents="ping"))
    assert "".join(c.text or "" for c in chunks) == "pong" and chunks[-1].usage_metadata.total_token_count == 17


@check("genai tools")
def _():
    config = types.GenerateContentConfig(tools=[WEATHER])
    answer = gemini.models.generate_content(model="gemini-2.5-pro", contents="ping", config=config)
    assert answer.function_calls[0].args == {"city": "Paris"}
    history = [types.UserContent("ping"), answer.candidates[0].content,
               types.Content(role="user", parts=[types.Part.from_function_response(name="get_weather", response={"sky": "sunny"})])]
    assert gemini.models.generate_content(model="gemini-2.5-pro", contents=history, config=config).text == "pong"


@check("genai chat")
def _():
    chat = gemini.chats.create(model="gemini-2.5-flash")
    assert chat.send_message("ping").text == "pong" and chat.send_message("ping").text == "pong"


@check("genai token counting and embedding")
def _():
    assert gemini.models.count_tokens(model="gemini-2.5-pro", contents="ping").total_tokens == 12
    assert gemini.models.embed_content(model="gemini-embedding-001", contents="x").embeddings[0].values == [0.5, -0.5]


@only_gateway("genai models")
def _():
    names = [m.name for m in gemini.models.list()]
    assert "models/gemini-2.5-pro" in names, names
    assert gemini.models.get(model="gemini-2.5-pro").name == "models/gemini-2.5-pro"


@only_gateway("genai errors of the gateway")
def _():
    def ask(key=KEY, model="gemini-2.5-pro"):
        def run():
            with genai_client(key) as client:
                client.models.generate_content(model=model, contents="ping")
        return run
    raises(errors.ClientError, ask(BAD), code=401, status="UNAUTHENTICATED")
    raises(errors.ClientError, ask(LIMITED), code=403, status="PERMISSION_DENIED")
    raises(errors.ClientError, ask(model="none-such"), code=404, status="NOT_FOUND")


@check("genai errors of the provider")
def _():
    for status, kind in {400: errors.ClientError, 429: errors.ClientError, 500: errors.ServerError, 503: errors.ServerError}.items():
        def ask():
            gemini.models.generate_content(model=f"gemini-fail-{status}", contents="ping")
        def stream():
            list(gemini.models.generate_content_stream(model=f"gemini-fail-{status}-stream", contents="ping"))
        for call in (ask, stream):
            assert "the stub refuses" in raises(kind, call, code=status).message


@check("genai errors inside a stream")
def _():
    raises(errors.ServerError, lambda: list(gemini.models.generate_content_stream(model="gemini-broken", contents="ping")), code=503)


@only_gateway("genai cut streams end in an error")
def _():
    try:
        list(gemini.models.generate_content_stream(model="gemini-cut", contents="ping"))
        raise AssertionError("nothing raised")
    except errors.APIError:
        pass


sys.exit(f"{len(failed)} failed: {', '.join(failed)}" if failed else 0)

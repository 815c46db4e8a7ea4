// The official Node SDKs, unmodified, against a gateway: only base URL and key are set.
//
// Environment: GATEWAY (http://host:port), KEY, LIMITED_KEY (may use only *-small models). One line a check; exit 1 if one fails.
// The packages are looked for in $NODE_FOLDER/node_modules.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.NODE_FOLDER}/package.json`);
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const OpenAI = (await load("openai")).default.OpenAI ?? (await load("openai")).default;
const Anthropic = (await load("@anthropic-ai/sdk")).default.Anthropic ?? (await load("@anthropic-ai/sdk")).default;
const genai = await load("@google/genai");

console.warn = () => {}; // the SDK's word on every call that a model is old

const { GATEWAY, KEY, LIMITED_KEY } = process.env;
const BAD = "aicp_us_ann_ffffffffffffffffffffffffffffffff";
const DIRECT = process.env.DIRECT === "1"; // against the stub itself: what only a gateway does is left out
const failed = [];

async function check(name, test) {
  try {
    await test();
    console.log(`ok   node ${name}`);
  } catch (fault) {
    failed.push(name);
    const place = String(fault.stack).split("\n").find((line) => line.includes("sdk_node.mjs")) ?? "";
    console.log(`FAIL node ${name}: ${fault.constructor.name}: ${String(fault.message).slice(0, 500)} (${place.trim()})`);
  }
}
const onlyGateway = (name, test) => (DIRECT ? undefined : check(name, test));

/** That `call` throws exactly this class, with these fields. */
async function raises(kind, call, fields = {}) {
  let fault;
  try {
    await call();
  } catch (thrown) {
    fault = thrown;
  }
  assert.ok(fault, `${kind.name} was not thrown`);
  assert.equal(fault.constructor.name, kind.name, `threw ${fault.constructor.name}: ${fault.message}`);
  for (const [field, value] of Object.entries(fields)) assert.deepEqual(fault[field], value, `${field} is ${fault[field]}`);
  return fault;
}

async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

const PING = [{ role: "user", content: "ping" }];
const SCHEMA = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

// ------------------------------------------------------------------ openai

const openaiClient = (apiKey = KEY, maxRetries = 0, base = "/api/v1") =>
  new OpenAI({ baseURL: GATEWAY + (DIRECT ? "/v1" : base), apiKey, maxRetries });
const openai = openaiClient();

await check("openai chat", async () => {
  const answer = await openai.chat.completions.create({ model: "gpt-4o", messages: PING });
  assert.equal(answer.choices[0].message.content, "pong");
  assert.ok(answer._request_id);
});
await check("openai chat stream", async () => {
  const chunks = await all(await openai.chat.completions.create({ model: "gpt-4o", messages: PING, stream: true }));
  assert.equal(chunks.map((c) => c.choices[0].delta.content ?? "").join(""), "pong");
  assert.ok(chunks.every((c) => c.choices.length && !c.usage));
});
await check("openai chat tools, stream helper", async () => {
  const tools = [{ type: "function", function: { name: "get_weather", parameters: SCHEMA } }];
  const final = await openai.chat.completions.stream({ model: "gpt-4o", messages: PING, tools }).finalChatCompletion();
  const call = final.choices[0].message.tool_calls[0];
  assert.equal(call.function.arguments, '{"city": "Paris"}');
  const messages = [...PING, final.choices[0].message, { role: "tool", tool_call_id: call.id, content: "sunny" }];
  const answer = await openai.chat.completions.create({ model: "gpt-4o", messages, tools });
  assert.equal(answer.choices[0].message.content, "pong");
});
await check("openai responses", async () => {
  assert.equal((await openai.responses.create({ model: "gpt-5", input: "ping" })).output_text, "pong");
  const events = await all(await openai.responses.create({ model: "gpt-5", input: "ping", stream: true }));
  assert.equal(events.at(-1).response.usage.output_tokens, 5);
  assert.equal((await openai.responses.stream({ model: "gpt-5", input: "ping" }).finalResponse()).output_text, "pong");
});
await check("openai embeddings, transcription", async () => {
  const answer = await openai.embeddings.create({ model: "text-embedding-3-small", input: "x" });
  assert.deepEqual(answer.data[0].embedding, [0.5, -0.5]);
  const file = new File([new Uint8Array(70_000)], "x.wav", { type: "audio/wav" });
  assert.equal((await openai.audio.transcriptions.create({ model: "whisper-1", file })).text, "pong");
});
await onlyGateway("openai models", async () => {
  const ids = (await all(await openai.models.list())).map((m) => m.id);
  assert.ok(ids.includes("gpt-4o"), ids.join());
});
await onlyGateway("openai errors of the gateway", async () => {
  const ask = (key = KEY, given = {}) => () => openaiClient(key).chat.completions.create({ model: "gpt-4o", messages: PING, ...given });
  await raises(OpenAI.AuthenticationError, ask(BAD), { code: "invalid_api_key", type: "invalid_request_error" });
  await raises(OpenAI.PermissionDeniedError, ask(LIMITED_KEY), { code: "model_not_allowed" });
  await raises(OpenAI.NotFoundError, ask(KEY, { model: "none-such" }), { code: "model_not_found" });
  await raises(OpenAI.BadRequestError, () => openai.post("/chat/completions", { body: { messages: [] } }));
  await raises(OpenAI.AuthenticationError, () => openaiClient(BAD, 2).responses.create({ model: "gpt-5", input: "x" }));
});
await check("openai errors of the provider", async () => {
  const classes = { 400: OpenAI.BadRequestError, 422: OpenAI.UnprocessableEntityError, 429: OpenAI.RateLimitError, 500: OpenAI.InternalServerError, 529: OpenAI.InternalServerError };
  for (const [status, kind] of Object.entries(classes))
    for (const stream of [false, true])
      await raises(kind, () => openai.chat.completions.create({ model: `gpt-fail-${status}-node-${stream}`, messages: PING, stream }), { code: `stub_${status}` });
});
await check("openai errors inside a stream", async () => {
  const stream = await openai.chat.completions.create({ model: "gpt-broken", messages: PING, stream: true });
  await raises(OpenAI.APIError, () => all(stream), { code: "stub_broken" });
});
await onlyGateway("openai cut streams end in an error", async () => {
  const stream = await openai.chat.completions.create({ model: "gpt-cut", messages: PING, stream: true });
  await raises(OpenAI.APIError, () => all(stream));
});

// ------------------------------------------------------------------ anthropic

const anthropicClient = (apiKey = KEY, maxRetries = 0, base = "") => new Anthropic({ baseURL: GATEWAY + base, apiKey, maxRetries });
const claude = anthropicClient();
const ASK = { model: "claude-sonnet-4-5", max_tokens: 64, messages: PING };

await check("anthropic messages", async () => {
  const answer = await claude.messages.create(ASK);
  assert.equal(answer.content[0].text, "pong");
  if (!DIRECT) for (const base of ["/api/v1", "/api/ai-proxy"]) assert.equal((await anthropicClient(KEY, 0, base).messages.create(ASK)).content[0].text, "pong");
});
await check("anthropic stream", async () => {
  const events = await all(await claude.messages.create({ ...ASK, stream: true }));
  assert.equal(events.at(-1).type, "message_stop");
  assert.equal((await claude.messages.stream(ASK).finalMessage()).usage.output_tokens, 5);
});
await check("anthropic tools", async () => {
  const tools = [{ name: "get_weather", input_schema: SCHEMA }];
  const answer = await claude.messages.stream({ ...ASK, tools }).finalMessage();
  assert.deepEqual(answer.content[0].input, { city: "Paris" });
  const result = { type: "tool_result", tool_use_id: answer.content[0].id, content: "sunny" };
  const messages = [...PING, { role: "assistant", content: answer.content }, { role: "user", content: [result] }];
  assert.equal((await claude.messages.create({ ...ASK, messages, tools })).content[0].text, "pong");
});
await check("anthropic token counting", async () => {
  assert.equal((await claude.messages.countTokens({ model: ASK.model, messages: PING })).input_tokens, 12);
});
await onlyGateway("anthropic models", async () => {
  const ids = (await all(await claude.models.list())).map((m) => m.id);
  assert.ok(ids.includes("claude-sonnet-4-5"), ids.join());
});
await onlyGateway("anthropic errors of the gateway", async () => {
  const ask = (key = KEY, given = {}) => () => anthropicClient(key).messages.create({ ...ASK, ...given });
  await raises(Anthropic.AuthenticationError, ask(BAD), { type: "authentication_error" });
  await raises(Anthropic.PermissionDeniedError, ask(LIMITED_KEY));
  await raises(Anthropic.NotFoundError, ask(KEY, { model: "none-such" }));
  await raises(Anthropic.AuthenticationError, () => anthropicClient(BAD, 2).messages.create(ASK));
});
await check("anthropic errors of the provider", async () => {
  const classes = { 400: Anthropic.BadRequestError, 422: Anthropic.UnprocessableEntityError, 429: Anthropic.RateLimitError, 500: Anthropic.InternalServerError };
  for (const [status, kind] of Object.entries(classes))
    for (const stream of [false, true]) {
      // A limit holds for the whole family of a model: each limited request has one of its own.
      const family = status !== "429" ? "sonnet" : stream ? "opus" : "haiku";
      await raises(kind, () => claude.messages.create({ ...ASK, model: `claude-${family}-${stream}-fail-${status}`, stream }), { status: Number(status) });
    }
});
await check("anthropic errors inside a stream", async () => {
  const stream = await claude.messages.create({ ...ASK, model: "claude-broken", stream: true });
  await raises(Anthropic.APIError, () => all(stream), { type: "overloaded_error" });
});
await onlyGateway("anthropic cut streams end in an error", async () => {
  const stream = await claude.messages.create({ ...ASK, model: "claude-cut", stream: true });
  await raises(Anthropic.APIError, () => all(stream));
});

// ------------------------------------------------------------------ @google/genai

const genaiClient = (apiKey = KEY, base = "/api/ai-proxy") =>
  new genai.GoogleGenAI({ apiKey, httpOptions: { baseUrl: GATEWAY + (DIRECT ? "" : base) } });
const gemini = genaiClient();
const GENERATE = { model: "gemini-2.5-pro", contents: "ping" };

await check("genai generate", async () => {
  const answer = await gemini.models.generateContent(GENERATE);
  assert.equal(answer.text, "pong");
  assert.equal(answer.usageMetadata.totalTokenCount, 17);
});
await check("genai stream", async () => {
  const chunks = await all(await gemini.models.generateContentStream(GENERATE));
  assert.equal(chunks.map((c) => c.text ?? "").join(""), "pong");
});
await check("genai tools", async () => {
  const config = { tools: [{ functionDeclarations: [{ name: "get_weather", parametersJsonSchema: SCHEMA }] }] };
  const answer = await gemini.models.generateContent({ ...GENERATE, config });
  assert.deepEqual(answer.functionCalls[0].args, { city: "Paris" });
  const contents = [
    { role: "user", parts: [{ text: "ping" }] },
    answer.candidates[0].content,
    { role: "user", parts: [{ functionResponse: { name: "get_weather", response: { sky: "sunny" } } }] },
  ];
  assert.equal((await gemini.models.generateContent({ ...GENERATE, contents, config })).text, "pong");
});
await check("genai token counting and embedding", async () => {
  assert.equal((await gemini.models.countTokens(GENERATE)).totalTokens, 12);
  const answer = await gemini.models.embedContent({ model: "gemini-embedding-001", contents: "x" });
  assert.deepEqual(answer.embeddings[0].values, [0.5, -0.5]);
});
await onlyGateway("genai models", async () => {
  const names = (await all(await gemini.models.list())).map((m) => m.name);
  assert.ok(names.includes("models/gemini-2.5-pro"), names.join());
});
await onlyGateway("genai errors of the gateway", async () => {
  const ask = (key, model = "gemini-2.5-pro") => () => genaiClient(key).models.generateContent({ ...GENERATE, model });
  await raises(genai.ApiError, ask(BAD), { status: 401 });
  await raises(genai.ApiError, ask(LIMITED_KEY), { status: 403 });
  await raises(genai.ApiError, ask(KEY, "none-such"), { status: 404 });
});
await check("genai errors of the provider", async () => {
  for (const status of [400, 429, 500, 503]) {
    const model = `gemini-fail-${status}-node`;
    await raises(genai.ApiError, () => gemini.models.generateContent({ ...GENERATE, model }), { status });
    await raises(genai.ApiError, async () => all(await gemini.models.generateContentStream({ ...GENERATE, model: `${model}-stream` })), { status });
  }
});
await onlyGateway("genai cut streams end in an error", async () => {
  let fault;
  try {
    await all(await gemini.models.generateContentStream({ ...GENERATE, model: "gemini-cut" }));
  } catch (thrown) {
    fault = thrown;
  }
  assert.ok(fault, "nothing was thrown");
});

if (failed.length) console.log(`${failed.length} failed: ${failed.join(", ")}`);
process.exit(failed.length ? 1 : 0);

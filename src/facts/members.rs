//! A JSON body: one walk over the whole, then a second look at the few members that matter.

use std::borrow::Cow;

use bytes::Bytes;

use super::session::{self, opening};
use super::text::Tally;
use super::{
    Edits, Facts, ModelPlace, PREVIOUS_ID_MAX, PREVIOUS_MAX, Said, UsagePlace, asks_for_usage, bad, guard_case, model_name,
};
use crate::json::{Fault, Scanner, Value};
use crate::route::{Kind, Route};
use crate::words::{Dialect, Refusal};

/// Where the members stand that matter; of duplicates the last.
#[derive(Default)]
struct Members<'a> {
    model: Option<Value<'a>>,
    stream: Option<Value<'a>>,
    stream_format: Option<Value<'a>>,
    stream_options: Option<Value<'a>>,
    max_tokens: Option<Value<'a>>,
    max_completion_tokens: Option<Value<'a>>,
    max_output_tokens: Option<Value<'a>>,
    n: Option<Value<'a>>,
    metadata: Option<Value<'a>>,
    prompt_cache_key: Option<Value<'a>>,
    previous_response_id: Option<Value<'a>>,
    conversation: Option<Value<'a>>,
    container: Option<Value<'a>>,
    input_file_id: Option<Value<'a>>,
    cached_content: Option<Value<'a>>,
    background: Option<Value<'a>>,
    store: Option<Value<'a>>,
    service_tier: Option<Value<'a>>,
    quality: Option<Value<'a>>,
    size: Option<Value<'a>>,
    web_search_options: Option<Value<'a>>,
    generation_config: Option<Value<'a>>,
    parameters: Option<Value<'a>>,
    tools: Option<Value<'a>>,
    /// Of picture edits sent as JSON.
    images: Option<Value<'a>>,
    mask: Option<Value<'a>>,
    request: Option<Value<'a>>,
    /// `system`, `instructions`, `systemInstruction`.
    system: Option<Value<'a>>,
    /// `messages`, `input`, `contents`, and what of them opens the conversation.
    turns: Option<Value<'a>>,
    opening: Vec<Value<'a>>,
}

impl<'a> Members<'a> {
    /// The place of a member that is kept as it is.
    fn slot(&mut self, name: &str) -> Option<&mut Option<Value<'a>>> {
        Some(match name {
            "model" => &mut self.model,
            "stream" => &mut self.stream,
            "stream_format" => &mut self.stream_format,
            "stream_options" => &mut self.stream_options,
            "max_tokens" => &mut self.max_tokens,
            "max_completion_tokens" => &mut self.max_completion_tokens,
            "max_output_tokens" => &mut self.max_output_tokens,
            "n" => &mut self.n,
            "metadata" => &mut self.metadata,
            "prompt_cache_key" => &mut self.prompt_cache_key,
            "previous_response_id" => &mut self.previous_response_id,
            "conversation" => &mut self.conversation,
            "container" => &mut self.container,
            "input_file_id" => &mut self.input_file_id,
            "cachedContent" | "cached_content" => &mut self.cached_content,
            "background" => &mut self.background,
            "store" => &mut self.store,
            "service_tier" | "serviceTier" => &mut self.service_tier,
            "quality" => &mut self.quality,
            "size" => &mut self.size,
            "web_search_options" => &mut self.web_search_options,
            // Google's parser takes both spellings.
            "generationConfig" | "generation_config" => &mut self.generation_config,
            "parameters" => &mut self.parameters,
            "tools" => &mut self.tools,
            "images" => &mut self.images,
            "mask" => &mut self.mask,
            "request" => &mut self.request,
            "system" | "instructions" | "systemInstruction" | "system_instruction" => &mut self.system,
            _ => return None,
        })
    }
}

/// Reads a JSON body into `facts`.
pub(super) fn read(route: &Route, body: &Bytes, facts: &mut Facts) -> Result<Said, Refusal> {
    let mut scanner = Scanner::new(body);
    if scanner.peek() != Some(b'{') {
        return Err(bad("the body must be a JSON object"));
    }
    let mut tally = Tally::default();
    let (members, inside) = walk(&mut scanner, &mut tally)?;
    facts.text_bytes = tally.bytes;
    facts.edits = edits(route, &members, inside)?;
    asked_for(route, &members, facts)?;
    facts.previous = previous(&members, tally.references)?;
    Ok(said(route, &members))
}

/// The one walk over the whole body; tells also where the first member stands and whether there is one.
fn walk<'a>(scanner: &mut Scanner<'a>, tally: &mut Tally) -> Result<(Members<'a>, (usize, bool)), Refusal> {
    let mut members = Members::default();
    let (mut first, mut any) = (true, false);
    scanner.enter(b'{').map_err(no_json)?;
    let inside = scanner.at();
    while let Some(name) = scanner.member(&mut first).map_err(no_json)? {
        any = true;
        let name: Cow<str> = name.text().ok_or_else(|| bad("a member's name is not UTF-8"))?;
        match &*name {
            "messages" | "input" | "contents" => {
                let (value, opening) = turns(scanner, tally).map_err(no_json)?;
                (members.turns, members.opening) = (Some(value), opening);
            }
            name => {
                let value = scanner.value(tally).map_err(no_json)?;
                match members.slot(name) {
                    Some(slot) => *slot = Some(value),
                    None => guard_case(name)?,
                }
            }
        }
    }
    scanner.end().map_err(no_json)?;
    Ok((members, (inside, any)))
}

fn no_json(fault: Fault) -> Refusal {
    bad(format!("the body is not JSON: at byte {} {}", fault.at, fault.what))
}

/// How many turns are looked at for the first user message.
const OPENING_TURNS: usize = 32;

/// Passes the turns of a conversation, keeping the contents of those up to the first user message. What is no list (a plain
/// `input`) is the opening itself.
fn turns<'a>(scanner: &mut Scanner<'a>, tally: &mut Tally) -> Result<(Value<'a>, Vec<Value<'a>>), Fault> {
    if scanner.peek() != Some(b'[') {
        let value = scanner.value(tally)?;
        return Ok((value, vec![value]));
    }
    let from = scanner.at();
    scanner.enter(b'[')?;
    let (mut first, mut opening, mut seen) = (true, Vec::new(), 0);
    while scanner.element(&mut first)? {
        if seen >= OPENING_TURNS || scanner.peek() != Some(b'{') {
            scanner.value(tally)?;
            continue;
        }
        seen += 1;
        let (role, content) = turn(scanner, tally)?;
        match (content, role.as_deref()) {
            (Some(content), Some("system" | "developer")) => opening.push(content),
            (Some(content), Some("user")) => {
                opening.push(content);
                seen = OPENING_TURNS;
            }
            _ => {}
        }
    }
    Ok((scanner.since(from), opening))
}

/// One turn: its role, and its content.
fn turn<'a>(scanner: &mut Scanner<'a>, tally: &mut Tally) -> Result<(Option<Cow<'a, str>>, Option<Value<'a>>), Fault> {
    let (mut first, mut role, mut content) = (true, None, None);
    scanner.enter(b'{')?;
    while let Some(name) = scanner.member(&mut first)? {
        let value = scanner.value(tally)?;
        match name.text().as_deref() {
            Some("role") => role = value.as_str(),
            Some("content") => content = Some(value),
            Some("parts") => {
                content = Some(value);
                // Gemini's single turns may leave the role out.
                role = role.or(Some(Cow::Borrowed("user")));
            }
            _ => {}
        }
    }
    Ok((role, content))
}

/// Where the body would have to be altered.
fn edits(route: &Route, members: &Members, (inside, any): (usize, bool)) -> Result<Edits, Refusal> {
    let model = match &members.model {
        _ if route.dialect == Dialect::Gemini => ModelPlace::Elsewhere,
        Some(value) if value.is_string() => ModelPlace::Json(value.range()),
        Some(value) if !value.is_null() => return Err(bad("\"model\" must be a string")),
        Some(value) => ModelPlace::Json(value.range()),
        None => ModelPlace::Insert { at: inside, comma: any },
    };
    let streams = members.stream.and_then(|value| value.as_bool()) == Some(true);
    let usage = if asks_for_usage(route) && streams { usage_place(members.stream_options, inside) } else { UsagePlace::None };
    Ok(Edits { model, usage })
}

/// What must be written so that the stream ends with its usage. A `stream_options` that is no object is the provider's to refuse.
fn usage_place(options: Option<Value>, inside: usize) -> UsagePlace {
    let Some(options) = options else {
        return UsagePlace::Write { range: inside..inside, text: "\"stream_options\":{\"include_usage\":true}," };
    };
    let here = options.range();
    match options.get("include_usage") {
        Some(value) if value.as_bool() == Some(true) => UsagePlace::Asked,
        Some(value) => UsagePlace::Write { range: value.range(), text: "true" },
        None if options.is_null() => UsagePlace::Write { range: here, text: "{\"include_usage\":true}" },
        None if options.is_object() && options.is_empty() => UsagePlace::Write { range: here, text: "{\"include_usage\":true}" },
        None if options.is_object() => {
            UsagePlace::Write { range: here.start + 1..here.start + 1, text: "\"include_usage\":true," }
        }
        None => UsagePlace::None,
    }
}

/// Model, stream, maxima, and the rest that is a plain value.
fn asked_for(route: &Route, members: &Members, facts: &mut Facts) -> Result<(), Refusal> {
    let text = |value: Option<Value>| value.and_then(|value| value.as_str()).map(Cow::into_owned);
    let number = |value: Option<Value>| value.and_then(|value| value.as_u64());
    let inner = |value: Option<Value>, names: [&str; 2]| number(value?.get(names[0]).or_else(|| value?.get(names[1])));
    if let (true, Some(value)) = (route.model.is_none(), members.model.filter(|value| !value.is_null())) {
        let name = value.as_str().ok_or_else(|| bad("\"model\" is not UTF-8"))?;
        facts.model = Some(model_name(&name)?);
    }
    if let (None, Some(value)) = (route.stream, members.stream.filter(|value| !value.is_null())) {
        facts.stream = value.as_bool().ok_or_else(|| bad("\"stream\" must be true or false"))?;
    }
    facts.stream |= route.kind == Kind::Speech && text(members.stream_format).as_deref() == Some("sse");
    facts.max_output = [
        number(members.max_tokens),
        number(members.max_completion_tokens),
        number(members.max_output_tokens),
        inner(members.generation_config, ["maxOutputTokens", "max_output_tokens"]),
    ]
    .into_iter()
    .flatten()
    .max();
    let choices = number(members.n)
        .or_else(|| inner(members.generation_config, ["candidateCount", "candidate_count"]))
        .or_else(|| inner(members.parameters.filter(|_| route.kind == Kind::Predict), ["sampleCount", "sample_count"]));
    facts.choices = choices.unwrap_or(1).max(1);
    facts.background = members.background.and_then(|value| value.as_bool()) == Some(true);
    facts.store = members.store.and_then(|value| value.as_bool());
    facts.service_tier = text(members.service_tier);
    facts.image_kind = text(members.quality).zip(text(members.size)).map(|(quality, size)| format!("{quality}/{size}"));
    facts.search_context = text(members.web_search_options.and_then(|value| value.get("search_context_size"))).or_else(|| {
        let tools = members.tools?;
        text(tools.elements().find_map(|tool| tool.get("search_context_size")))
    });
    Ok(())
}

fn said(route: &Route, members: &Members) -> Said {
    let hashed = |value: Option<Value>| {
        let id = value?.as_str().filter(|id| !id.is_empty())?;
        Some(session::hash(id.as_bytes()))
    };
    let metadata = |name| members.metadata.and_then(|value| value.get(name));
    let given = metadata("user_id")
        .and_then(|value| value.as_str())
        .and_then(|user_id| session::from_user_id(&user_id))
        .or_else(|| hashed(members.prompt_cache_key))
        .or_else(|| hashed(metadata("sessionId")))
        .or_else(|| hashed(members.request.and_then(|value| value.get("session_id"))));
    let converses = matches!(
        route.kind,
        Kind::Messages | Kind::CountTokens | Kind::Chat | Kind::ResponseCreate | Kind::ResponseCompact | Kind::Generate
    );
    let opening =
        (given.is_none() && converses).then(|| opening(members.system.into_iter().chain(members.opening.iter().copied())));
    Said { given, opening: opening.flatten() }
}

/// The ids of stored objects that the body names. The turns and tools are only searched if a name passed that may lead to one.
fn previous(members: &Members, references: bool) -> Result<Vec<String>, Refusal> {
    let mut ids = Ids(Vec::new());
    ids.add(members.previous_response_id)?;
    for value in [members.conversation, members.container].into_iter().flatten() {
        ids.add(if value.is_object() { value.get("id") } else { Some(value) })?;
    }
    ids.add(members.input_file_id)?;
    ids.add(members.cached_content)?;
    if references {
        let places = [
            ("container", members.container),
            ("messages", members.turns),
            ("tools", members.tools),
            ("images", members.images),
            ("mask", members.mask),
        ];
        for (name, value) in places {
            value.map_or(Ok(()), |value| ids.within(value, name))?;
        }
    }
    Ok(ids.0)
}

struct Ids(Vec<String>);

impl Ids {
    fn add(&mut self, value: Option<Value>) -> Result<(), Refusal> {
        match value.and_then(|value| value.as_str()) {
            Some(id) => self.add_text(&id),
            None => Ok(()),
        }
    }

    fn add_text(&mut self, id: &str) -> Result<(), Refusal> {
        if id.is_empty() || self.0.iter().any(|known| known == id) {
            return Ok(());
        }
        if id.len() > PREVIOUS_ID_MAX || self.0.len() == PREVIOUS_MAX {
            return Err(bad(format!("the body names more than {PREVIOUS_MAX} stored objects, or one with a very long id")));
        }
        self.0.push(id.to_string());
        Ok(())
    }

    /// Searches blocks of content and tools. `under` is the name of the member that `value` is.
    fn within(&mut self, value: Value, under: &str) -> Result<(), Refusal> {
        for element in value.elements() {
            self.within(element, under)?;
        }
        if !value.is_object() {
            return Ok(());
        }
        let kind = value.get("type").and_then(|kind| kind.as_str());
        for (name, member) in value.members() {
            match &*name {
                // What a tool was called with is the caller's own data, whatever its names are.
                "input" | "args" | "arguments" | "response" | "parameters" | "input_schema" => {}
                "file_id" if is_input(kind.as_deref(), under) => self.add(Some(member))?,
                "fileUri" | "file_uri" => self.add_uri(member)?,
                "file_ids" | "vector_store_ids" => {
                    for id in member.elements() {
                        self.add(Some(id))?;
                    }
                }
                "container" if member.is_string() => self.add(Some(member))?,
                name => self.within(member, name)?,
            }
        }
        Ok(())
    }

    /// Gemini's files: `https://…/v1beta/files/abc`. Other addresses are no stored objects of an account.
    fn add_uri(&mut self, value: Value) -> Result<(), Refusal> {
        let Some(uri) = value.as_str() else { return Ok(()) };
        match uri.rsplit_once("files/") {
            Some((before, id)) if before.is_empty() || before.contains("generativelanguage.googleapis.com/") => {
                self.add_text(&format!("files/{id}"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a `file_id` in a block of this type is a file that the request brings in, and not one that an answer cited or made.
fn is_input(kind: Option<&str>, under: &str) -> bool {
    match kind {
        Some(kind) => matches!(kind, "file" | "input_file" | "input_image" | "image_file" | "container_upload"),
        None => matches!(under, "file" | "source" | "input_image_mask" | "image_file" | "images" | "mask"),
    }
}

//! When a stream has begun to mean something.
//!
//! Until then its response header is held back, so that an error that comes as the first event is answered as a plain error,
//! by another account if there is one. What means nothing yet: comments, pings, `message_start`, `response.created` and its
//! like, chunks that only name a role, empty deltas. A stream that ends without having meant anything is empty, which is a
//! fault as well.
//!
//! Bytes may come in any pieces; lines end with LF, CRLF or CR. Gemini's arrays, and JSON where events were asked for, are
//! read element by element.

use super::failure::{Failure, error_in_event};
use crate::json::{Scanner, Value};
use crate::words::{Dialect, Operation};

/// What is known of a stream by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// Nothing that means anything came yet.
    More,
    Meaningful,
    /// The first thing that meant something was an error.
    Error(Failure),
    /// The stream ended and meant nothing.
    Empty,
}

/// The most that is kept of one event. Longer ones are content, but for those that only repeat the request: `response.created`
/// and `response.in_progress` hold all instructions and tools, and are passed over by their type.
const EVENT_MAX: usize = 64 * 1024;

/// A stream that has not meant anything after so many bytes is taken for content.
const UNDECIDED_MAX: usize = 1024 * 1024;

/// Watches a stream until it means something.
#[derive(Clone, Debug)]
pub struct FirstEvent {
    dialect: Dialect,
    operation: Operation,
    /// What was decided; nothing is read from then on.
    decided: Option<First>,
    form: Form,
    taken: usize,
    /// Something like an answer began, even if it said nothing.
    began: bool,
}

#[derive(Clone, Debug)]
enum Form {
    /// Nothing but white space and a byte order mark so far.
    Unknown,
    Events(Events),
    Elements(Elements),
}

impl FirstEvent {
    pub fn new(dialect: Dialect, operation: Operation) -> FirstEvent {
        FirstEvent { dialect, operation, decided: None, form: Form::Unknown, taken: 0, began: false }
    }

    /// Takes the next bytes of the (decoded) stream.
    pub fn feed(&mut self, bytes: &[u8]) -> First {
        for (at, byte) in bytes.iter().enumerate() {
            if let Some(decided) = &self.decided {
                return decided.clone();
            }
            self.decided = self.take(*byte);
            if self.decided.is_none() && self.taken + at >= UNDECIDED_MAX {
                self.decided = Some(First::Meaningful);
            }
        }
        self.taken += bytes.len();
        self.decided.clone().unwrap_or(First::More)
    }

    /// The stream has ended. A last event without its blank line counts if its JSON is whole.
    pub fn end(&mut self) -> First {
        if self.decided.is_none() {
            let last = match &mut self.form {
                Form::Events(events) => events.end(),
                Form::Unknown | Form::Elements(_) => None,
            };
            self.decided = last.filter(|event| Value::of(&event.data).is_ok()).and_then(|event| self.judge(&event));
        }
        self.decided.get_or_insert(First::Empty).clone()
    }

    fn take(&mut self, byte: u8) -> Option<First> {
        match &mut self.form {
            Form::Unknown => {
                match byte {
                    b' ' | b'\t' | b'\r' | b'\n' | 0xEF | 0xBB | 0xBF => {}
                    b'{' | b'[' => {
                        self.form = Form::Elements(Elements::default());
                        return self.take(byte);
                    }
                    _ => {
                        self.form = Form::Events(Events::default());
                        return self.take(byte);
                    }
                }
                None
            }
            Form::Events(events) => {
                let event = events.take(byte);
                if events.kept() > EVENT_MAX {
                    let passed_over = events.begins_like_the_request();
                    events.pass_over();
                    return (!passed_over).then_some(First::Meaningful);
                }
                self.judge(&event?)
            }
            Form::Elements(elements) if elements.element.len() > EVENT_MAX => Some(First::Meaningful),
            Form::Elements(elements) => {
                let element = elements.take(byte)?;
                self.judge(&Event { name: String::new(), data: element })
            }
        }
    }

    fn judge(&mut self, event: &Event) -> Option<First> {
        if event.data.trim_ascii() == b"[DONE]" {
            return Some(if self.began { First::Meaningful } else { First::Empty });
        }
        let Ok(data) = Value::of(&event.data) else {
            return Some(First::Meaningful); // not for us to understand
        };
        self.began = true;
        if let Some(failure) = error_in_event(self.dialect, &data) {
            return Some(First::Error(failure));
        }
        if event.name == "error" {
            return Some(First::Error(Failure::of(self.dialect, data)));
        }
        let means = match (self.dialect, self.operation) {
            (Dialect::Anthropic, _) => anthropic_means(&data),
            (Dialect::Openai, Operation::Chat | Operation::Completions) => chat_means(&data),
            (Dialect::Openai, Operation::Responses) => responses_means(&data),
            (Dialect::Openai, _) => true,
            (Dialect::Gemini, _) => gemini_means(&data),
        };
        means.then_some(First::Meaningful)
    }
}

/// Whether any member but these holds something.
fn holds_more_than(object: Option<Value>, but: &[&str]) -> bool {
    let full = |value: &Value| !value.is_null() && !value.is_empty();
    object.is_some_and(|object| object.members().any(|(name, value)| !but.contains(&&*name) && full(&value)))
}

fn is_given(value: Option<Value>) -> bool {
    value.is_some_and(|value| !value.is_null() && !value.is_empty())
}

fn anthropic_means(data: &Value) -> bool {
    let kind = data.get("type").and_then(|kind| kind.as_str()).unwrap_or_default();
    match &*kind {
        "message_start" | "ping" | "content_block_stop" => false,
        "content_block_start" => {
            let block = data.get("content_block");
            let kind = block.and_then(|block| block.get("type")?.as_str()).unwrap_or_default();
            !matches!(&*kind, "text" | "thinking") || holds_more_than(block, &["type"])
        }
        "content_block_delta" => holds_more_than(data.get("delta"), &["type"]),
        "message_delta" => is_given(data.get("delta").and_then(|delta| delta.get("stop_reason"))),
        _ => true,
    }
}

fn chat_means(data: &Value) -> bool {
    data.get("choices").is_some_and(|choices| {
        choices.elements().any(|choice| {
            is_given(choice.get("finish_reason"))
                || is_given(choice.get("text"))
                || holds_more_than(choice.get("delta").or_else(|| choice.get("message")), &["role"])
        })
    })
}

fn responses_means(data: &Value) -> bool {
    let kind = data.get("type").and_then(|kind| kind.as_str()).unwrap_or_default();
    match &*kind {
        "response.created" | "response.in_progress" | "response.queued" | "keepalive" | "ping" => false,
        "response.content_part.added" | "response.reasoning_summary_part.added" => false,
        "response.output_item.added" => {
            let kind = data.get("item").and_then(|item| item.get("type"));
            let kind = kind.and_then(|kind| kind.as_str()).unwrap_or_default();
            !matches!(&*kind, "message" | "reasoning")
        }
        kind if kind.ends_with(".delta") => is_given(data.get("delta")),
        _ => true,
    }
}

fn gemini_means(data: &Value) -> bool {
    let blocked = data.get("promptFeedback").and_then(|feedback| feedback.get("blockReason"));
    let candidate_means = |candidate: Value| {
        let parts = candidate.get("content").and_then(|content| content.get("parts"));
        is_given(candidate.get("finishReason"))
            || parts.is_some_and(|parts| parts.elements().any(|part| holds_more_than(Some(part), &["thought"])))
    };
    is_given(blocked) || data.get("candidates").is_some_and(|candidates| candidates.elements().any(candidate_means))
}

// ------------------------------------------------------------------ framing

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    data: Vec<u8>,
}

/// Server-sent events out of single bytes.
#[derive(Clone, Debug, Default)]
struct Events {
    line: Vec<u8>,
    /// The rest of this event is not kept: 2 = within a line, 1 = at a line's beginning, 0 = it is.
    passing: u8,
    /// The line before ended with CR: a LF belongs to it.
    after_return: bool,
    event: Event,
    has_data: bool,
}

impl Events {
    /// The event that this byte ends, if it does.
    fn take(&mut self, byte: u8) -> Option<Event> {
        let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
        match byte {
            b'\n' if after_return => None,
            b'\n' | b'\r' if self.passing > 0 => {
                self.passing -= 1;
                None
            }
            _ if self.passing > 0 => {
                self.passing = 2;
                None
            }
            b'\n' | b'\r' => self.line_ends(),
            byte => {
                self.line.push(byte);
                None
            }
        }
    }

    fn kept(&self) -> usize {
        self.line.len() + self.event.data.len() + self.event.name.len()
    }

    /// Whether this event, of which only the beginning is there, says what was asked for and nothing else.
    fn begins_like_the_request(&self) -> bool {
        let data = [&self.event.data, self.line.strip_prefix(b"data:").unwrap_or_default()].concat();
        let mut scanner = Scanner::new(&data);
        let mut first = true;
        let mut kind = self.event.name.clone();
        if scanner.enter(b'{').is_ok() {
            while let Ok(Some(name)) = scanner.member(&mut first) {
                let Ok(value) = scanner.value(&mut ()) else { break };
                if let (Some("type"), Some(text)) = (name.text().as_deref(), value.as_str()) {
                    kind = text.into_owned();
                }
            }
        }
        matches!(&*kind, "response.created" | "response.in_progress" | "response.queued" | "message_start")
    }

    /// Lets go of this event, up to its blank line.
    fn pass_over(&mut self) {
        *self = Events { passing: 2, after_return: self.after_return, ..Events::default() };
    }

    fn end(&mut self) -> Option<Event> {
        self.line_ends().or_else(|| self.dispatch())
    }

    fn line_ends(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.dispatch();
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"data" => {
                if self.has_data {
                    self.event.data.push(b'\n');
                }
                self.has_data = true;
                self.event.data.extend_from_slice(value);
            }
            b"event" => self.event.name = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        let event = std::mem::take(&mut self.event);
        std::mem::take(&mut self.has_data).then_some(event)
    }
}

/// The top-level objects of a JSON text, or of an array that is one, out of single bytes.
#[derive(Clone, Debug, Default)]
struct Elements {
    element: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Elements {
    /// The object that this byte ends, if it does.
    fn take(&mut self, byte: u8) -> Option<Vec<u8>> {
        if self.depth == 0 && byte != b'{' {
            return None; // the array's own brackets and commas
        }
        self.element.push(byte);
        if self.in_string {
            let escaped = std::mem::replace(&mut self.escaped, false);
            match byte {
                _ if escaped => {}
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return None;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        (self.depth == 0).then(|| std::mem::take(&mut self.element))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANTHROPIC: (Dialect, Operation) = (Dialect::Anthropic, Operation::Messages);
    const CHAT: (Dialect, Operation) = (Dialect::Openai, Operation::Chat);
    const COMPLETIONS: (Dialect, Operation) = (Dialect::Openai, Operation::Completions);
    const RESPONSES: (Dialect, Operation) = (Dialect::Openai, Operation::Responses);
    const IMAGES: (Dialect, Operation) = (Dialect::Openai, Operation::Images);
    const GEMINI: (Dialect, Operation) = (Dialect::Gemini, Operation::Generate);

    fn run((dialect, operation): (Dialect, Operation), pieces: impl Iterator<Item = Vec<u8>>) -> First {
        let mut first = FirstEvent::new(dialect, operation);
        for piece in pieces {
            match first.feed(&piece) {
                First::More => {}
                decided => return decided,
            }
        }
        first.end()
    }

    /// `more` is what a stream is that has not ended; else as it ends.
    fn told(form: (Dialect, Operation), stream: &str) -> String {
        let mut watch = FirstEvent::new(form.0, form.1);
        let by_now = watch.feed(stream.as_bytes());
        match if by_now == First::More { watch.end() } else { by_now.clone() } {
            First::Error(failure) => format!("error {} {}", failure.status, failure.kind),
            First::Empty => "empty".to_string(),
            First::Meaningful if by_now == First::More => "meaningful at its end".to_string(),
            First::Meaningful => "meaningful".to_string(),
            First::More => "more".to_string(),
        }
    }

    /// In any pieces and with any line ends the same.
    #[track_caller]
    fn check(form: (Dialect, Operation), stream: &str, expected: &str) {
        for line_end in ["\n", "\r\n", "\r"] {
            let stream = stream.replace('\n', line_end);
            assert_eq!(told(form, &stream), expected, "{stream:?}");
            let whole = run(form, std::iter::once(stream.clone().into_bytes()));
            for size in [1, 2, 3, 7] {
                assert_eq!(run(form, stream.as_bytes().chunks(size).map(<[u8]>::to_vec)), whole, "{size}: {stream:?}");
            }
        }
    }

    #[test]
    fn anthropic() {
        let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[]}}\n\n: hello\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\n";
        let block = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
        let data = |data: &str| format!("{start}{block}data: {data}\n\n");
        check(ANTHROPIC, "", "empty");
        check(ANTHROPIC, start, "empty");
        check(ANTHROPIC, &data(r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":""}}"#), "empty");
        check(ANTHROPIC, &data(r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}"#), "meaningful");
        check(ANTHROPIC, &data(r#"{"type":"content_block_start","content_block":{"type":"tool_use","id":"t"}}"#), "meaningful");
        check(ANTHROPIC, &data(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#), "meaningful");
        check(ANTHROPIC, &data(r#"{"type":"message_delta","delta":{"stop_reason":null}}"#), "empty");
        check(
            ANTHROPIC,
            &data(r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#),
            "error 529 overloaded_error",
        );
        for (kind, status) in [
            ("rate_limit_error", 429),
            ("invalid_request_error", 400),
            ("authentication_error", 401),
            ("billing_error", 402),
            ("permission_error", 403),
            ("not_found_error", 404),
            ("api_error", 500),
            ("something_new", 500),
        ] {
            let event =
                format!("event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":\"m\"}}}}\n\n");
            check(ANTHROPIC, &event, &format!("error {status} {kind}"));
        }
        check(ANTHROPIC, "event: error\ndata: {\"detail\":\"odd\"}\n\n", "error 500 ");
        check(ANTHROPIC, "event:message_stop\ndata:{\"type\":\"message_stop\"}", "meaningful at its end");
        check(ANTHROPIC, "data: {\"type\":\"message_stop\"", "empty");
        check(ANTHROPIC, "\u{feff}data: {\"type\":\ndata: \"message_stop\"}\n\n", "meaningful");
    }

    #[test]
    fn the_plain_answer_to_an_error_event() {
        let event =
            r#"{"type":"error","error":{"details":null,"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#;
        let First::Error(failure) = run(ANTHROPIC, std::iter::once(format!("data: {event}\n\n").into_bytes())) else { panic!() };
        let wanted = r#"{"type":"error","error":{"details":null,"type":"overloaded_error","message":"Overloaded"}}"#;
        assert_eq!(failure.body, wanted);
    }

    #[test]
    fn chat() {
        let data = |data: &str| format!(": OPENROUTER PROCESSING\n\ndata: {data}\n\n");
        check(CHAT, &data(r#"{"choices":[],"prompt_filter_results":[]}"#), "empty");
        check(
            CHAT,
            &data(
                r#"{"choices":[{"delta":{"role":"assistant","content":"","refusal":null,"tool_calls":[]},"finish_reason":null}]}"#,
            ),
            "empty",
        );
        check(CHAT, &data(r#"{"choices":[{"delta":{"content":"x"}}]}"#), "meaningful");
        check(CHAT, &data(r#"{"choices":[{"delta":{"reasoning_content":"x"}}]}"#), "meaningful");
        check(CHAT, &data(r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#), "meaningful");
        check(CHAT, &data(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#), "meaningful");
        check(CHAT, &data("[DONE]"), "empty");
        check(CHAT, &(data(r#"{"choices":[{"delta":{"role":"assistant"}}]}"#) + "data: [DONE]\n\n"), "meaningful");
        check(
            CHAT,
            &data(r#"{"error":{"message":"m","type":"server_error","code":"server_overloaded"}}"#),
            "error 503 server_overloaded",
        );
        check(
            CHAT,
            &data(r#"{"choices":[{"delta":{"content":""},"finish_reason":"error"}],"error":{"code":502,"message":"m"}}"#),
            "error 502 502",
        );
        check(CHAT, &data(r#"{"error":"text"}"#), "error 500 ");
        check(CHAT, &data(r#"{"error":{"code":429,"type":"TooManyRequests","message":"m"}}"#), "error 429 TooManyRequests");
        check(CHAT, &data(r#"{"choices":null,"base_resp":{"status_code":1002,"status_msg":"m"}}"#), "error 429 1002");
        check(CHAT, &data(r#"{"code":"Arrearage","message":"m"}"#), "error 402 Arrearage");
        check(CHAT, r#"{"error":{"message":"m","type":"rate_limit_error"}}"#, "error 429 rate_limit_error");
        check(CHAT, &data("not json"), "meaningful");
        check(COMPLETIONS, &data(r#"{"choices":[{"text":""}]}"#), "empty");
        check(COMPLETIONS, &data(r#"{"choices":[{"text":"x"}]}"#), "meaningful");
    }

    #[test]
    fn responses() {
        let data = |data: &str| {
            format!(
                "event: response.created\ndata: {{\"type\":\"response.created\",\"response\":{{\"error\":null}}}}\n\ndata: {data}\n\n"
            )
        };
        check(RESPONSES, &data(r#"{"type":"response.in_progress","response":{}}"#), "empty");
        check(RESPONSES, &data(r#"{"type":"response.output_item.added","item":{"type":"message","content":[]}}"#), "empty");
        check(RESPONSES, &data(r#"{"type":"response.output_item.added","item":{"type":"function_call"}}"#), "meaningful");
        check(RESPONSES, &data(r#"{"type":"response.output_text.delta","delta":""}"#), "empty");
        check(RESPONSES, &data(r#"{"type":"response.output_text.delta","delta":"x"}"#), "meaningful");
        check(RESPONSES, &data(r#"{"type":"response.completed","response":{}}"#), "meaningful");
        check(
            RESPONSES,
            &data(r#"{"type":"error","code":"rate_limit_exceeded","message":"m","param":null}"#),
            "error 429 rate_limit_exceeded",
        );
        check(
            RESPONSES,
            &data(r#"{"type":"error","error":{"type":"service_unavailable_error","code":"server_is_overloaded"}}"#),
            "error 503 server_is_overloaded",
        );
        for (code, status) in
            [("server_error", 500), ("rate_limit_exceeded", 429), ("context_length_exceeded", 400), ("invalid_prompt", 400)]
        {
            let event =
                format!("{{\"type\":\"response.failed\",\"response\":{{\"error\":{{\"code\":\"{code}\",\"message\":\"m\"}}}}}}");
            check(RESPONSES, &data(&event), &format!("error {status} {code}"));
        }
        check(IMAGES, "data: {\"type\":\"image_generation.partial_image\"}\n\n", "meaningful");
    }

    #[test]
    fn gemini() {
        let meaningful = r#"{"candidates":[{"content":{"parts":[{"text":"x \"}]"}],"role":"model"}}],"usageMetadata":{}}"#;
        let nothing = r#"{"candidates":[{"content":{"parts":[{"text":""}]}}],"usageMetadata":{"promptTokenCount":3}}"#;
        let error = r#"{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}"#;
        let blocked = r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#;
        let finished = r#"{"candidates":[{"finishReason":"STOP"}]}"#;
        for (event, expected) in [
            (meaningful, "meaningful"),
            (nothing, "empty"),
            (error, "error 503 UNAVAILABLE"),
            (blocked, "meaningful"),
            (finished, "meaningful"),
            (r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}"#, "error 429 RESOURCE_EXHAUSTED"),
        ] {
            check(GEMINI, &format!("data: {event}\n\n"), expected);
            check(GEMINI, &format!("[{event}"), expected);
            check(GEMINI, &format!("[{nothing}\n,\n{event}\n]"), expected);
        }
        check(GEMINI, error, "error 503 UNAVAILABLE");
        check(GEMINI, "[]", "empty");
        check(GEMINI, "[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"cut", "empty");
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut first = FirstEvent::new(Dialect::Anthropic, Operation::Messages);
        assert_eq!(first.feed(b"data: "), First::More);
        assert_eq!(first.feed(&vec![b'x'; EVENT_MAX - 6]), First::More);
        assert_eq!(first.feed(b"xxx"), First::Meaningful);
        assert_eq!(first.end(), First::Meaningful);
        let mut first = FirstEvent::new(Dialect::Gemini, Operation::Generate);
        assert_eq!(first.feed(&vec![b'{'; EVENT_MAX + 2]), First::Meaningful);
        let mut first = FirstEvent::new(Dialect::Anthropic, Operation::Messages);
        assert_eq!(first.feed(&b": comment\n\n".repeat(UNDECIDED_MAX / 11)), First::More);
        assert_eq!(first.feed(&[b':'; 20]), First::Meaningful);
    }

    #[test]
    fn long_echoes_of_the_request_are_passed_over() {
        let long = "x".repeat(100_000);
        let created = format!("data: {{\"type\":\"response.created\",\"response\":{{\"instructions\":\"{long}\"}}}}\n\n");
        let named =
            format!("event: response.in_progress\ndata: {{\"response\":{{\"instructions\":\"{long}\"}},\ndata: \"type\":1}}\n\n");
        let failed = "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_error\"}}}\n\n";
        check(RESPONSES, &format!("{created}{named}{failed}"), "error 500 server_error");
        check(RESPONSES, &format!("{created}{named}"), "empty");
        let delta = format!("data: {{\"type\":\"response.output_text.delta\",\"delta\":\"{long}\"}}\n\n");
        check(RESPONSES, &format!("{created}{delta}"), "meaningful");
    }

    proptest! {
        #[test]
        fn any_pieces_say_the_same(
            text in "(data: |event: error|\n|\r|\\{|\\}|\"type\":\"ping\"|\"error\":|\"x\"|\\[DONE\\]|:|é){0,24}",
            cuts in proptest::collection::vec(1..9usize, 1..40),
            form in 0..4usize,
        ) {
            let form = [ANTHROPIC, CHAT, RESPONSES, GEMINI][form];
            let whole = run(form, std::iter::once(text.clone().into_bytes()));
            let (mut rest, mut pieces) = (text.as_bytes(), Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece.to_vec());
                rest = after;
            }
            prop_assert_eq!(run(form, pieces.into_iter()), whole);
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            for form in [ANTHROPIC, CHAT, RESPONSES, GEMINI] {
                let _first = run(form, std::iter::once(bytes.clone()));
            }
        }
    }
}

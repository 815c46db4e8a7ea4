//! The meter of OpenAI's `/v1/responses`; it also reads what files and batches are called.
//!
//! The rules (numbers as in the corpus' README):
//! 1. `input_tokens` includes `input_tokens_details.cached_tokens` and `.cache_write_tokens`; `output_tokens` includes
//!    `reasoning_tokens`.
//! 2. Usage stands in `response.completed`, `.incomplete`, and maybe `.failed`. A background response answers `queued`, no
//!    usage: `none`; as a stream it ends with `response.completed`.
//! 3. `searches`: `tool_usage.web_search.num_requests`, else xAI's `server_side_tool_usage_details.web_search_calls`, else the
//!    `web_search_call` items whose `action.type` is `search` or absent. `images`: `image_generation_call` items with a result.

use super::estimate::ScriptBytes;
use super::figures::{Detail, Figure, Figures};
use super::json::{Kind, Reader, Value};
use super::number::Count;
use super::seen::{Answer, Ending, Judged, Seen, keep, keep_code, says_so};
use crate::words::{Basis, Class, Usage};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Root,
    Type,
    Delta,
    /// `response` of an event: like the root of a JSON answer.
    Response,
    Object,
    Id,
    Model,
    Status,
    Tier,
    Error,
    ErrorKind,
    Output,
    /// An element of `output`, or the `item` of an event.
    Item(From),
    ItemType(From),
    ItemResult(From),
    ItemAction(From),
    ItemActionType(From),
    ItemQuality(From),
    ItemSize(From),
    Container,
    Contents,
    Content,
    Text,
    Usage,
    Figure(Figure),
    Details(Detail),
    ToolUsage,
    WebSearch,
    Searches,
    Tools,
    Tool,
    SearchContext,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Output,
    Event,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Event {
    #[default]
    Other,
    /// A piece of something.
    Delta,
    /// An item is done.
    Item,
    /// A tool's call is done.
    Call,
    Completed,
    Incomplete,
    Failed,
    Error,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ItemType {
    #[default]
    Other,
    WebSearch,
    Picture,
}

/// The item that is being read.
#[derive(Clone, Debug, Default)]
struct Item {
    of: ItemType,
    result: bool,
    /// Its action is another than a search.
    other_action: bool,
    quality: Option<String>,
    size: Option<String>,
}

/// What the items of one answer come to.
#[derive(Clone, Copy, Debug, Default)]
struct Items {
    all: u64,
    searches: u64,
    pictures: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Other,
    Queued,
    Failed,
}

/// The event (or document) that is being read.
#[derive(Clone, Debug, Default)]
struct Open {
    event: Event,
    /// It speaks of a response, so that its `error` is that of the response.
    response: bool,
    status: Option<Status>,
    usage: Option<Figures>,
    /// `usage` came to its end: it holds even if the document is cut behind it.
    closed: bool,
    searches: Count,
    error: bool,
    error_kind: Option<String>,
    text: ScriptBytes,
    output: Items,
    item: Items,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Responses {
    seen: Seen,
    open: Open,
    item: Item,
    status: Status,
    figures: Option<Figures>,
    searches: Count,
    /// The items of the last whole answer, and those that came one by one.
    output: Items,
    items: Items,
    message: ScriptBytes,
}

impl Reader for Responses {
    type Place = Place;
    const ROOT: Place = Place::Root;

    #[inline]
    fn member(at: Place, key: &[u8]) -> Option<Place> {
        use Place as P;
        Some(match at {
            P::Root | P::Response => match key {
                b"type" if at == P::Root => P::Type,
                b"delta" if at == P::Root => P::Delta,
                b"response" if at == P::Root => P::Response,
                b"item" if at == P::Root => P::Item(From::Event),
                b"code" if at == P::Root => P::ErrorKind,
                b"object" => P::Object,
                b"id" => P::Id,
                b"model" => P::Model,
                b"status" => P::Status,
                b"service_tier" => P::Tier,
                b"error" => P::Error,
                b"output" => P::Output,
                b"usage" => P::Usage,
                b"tool_usage" => P::ToolUsage,
                b"tools" => P::Tools,
                _ => return None,
            },
            P::Error if matches!(key, b"type" | b"code") => P::ErrorKind,
            P::Item(from) => match key {
                b"type" => P::ItemType(from),
                b"result" => P::ItemResult(from),
                b"action" => P::ItemAction(from),
                b"quality" => P::ItemQuality(from),
                b"size" => P::ItemSize(from),
                b"container_id" => P::Container,
                b"content" | b"summary" if from == From::Output => P::Contents,
                b"arguments" | b"input" | b"code" if from == From::Output => P::Text,
                _ => return None,
            },
            P::ItemAction(from) if key == b"type" => P::ItemActionType(from),
            P::Content if matches!(key, b"text" | b"refusal") => P::Text,
            P::Usage => {
                return Figures::member(key).map(P::Figure).or_else(|| Detail::of(key).map(P::Details));
            }
            P::Details(detail) => match detail.member(key)? {
                Ok(figure) => P::Figure(figure),
                Err(detail) => P::Details(detail),
            },
            P::ToolUsage if key == b"web_search" => P::WebSearch,
            P::WebSearch if key == b"num_requests" => P::Searches,
            P::Tool if key == b"search_context_size" => P::SearchContext,
            _ => return None,
        })
    }

    fn element(at: Place) -> Option<Place> {
        match at {
            Place::Output => Some(Place::Item(From::Output)),
            Place::Contents => Some(Place::Content),
            Place::Tools => Some(Place::Tool),
            _ => None,
        }
    }

    #[inline]
    fn kind(at: Place) -> Kind {
        use Place as P;
        match at {
            P::Root | P::Response | P::Error | P::Output | P::Item(_) | P::ItemAction(_) | P::Contents | P::Content => Kind::Node,
            P::Usage | P::Details(_) | P::ToolUsage | P::WebSearch | P::Tools | P::Tool => Kind::Node,
            P::Delta | P::Text | P::ItemResult(_) => Kind::Text,
            P::Type | P::Object | P::Id | P::Model | P::Status | P::Tier | P::ErrorKind | P::Container => Kind::Short,
            P::ItemType(_) | P::ItemActionType(_) | P::ItemQuality(_) | P::ItemSize(_) => Kind::Short,
            P::Figure(_) | P::Searches | P::SearchContext => Kind::Short,
        }
    }

    #[inline]
    fn open(&mut self, at: Place, array: bool) {
        match at {
            Place::Root => self.open = Open::default(),
            Place::Response => self.open.response = true,
            Place::Usage => (self.open.usage, self.open.closed) = ((!array).then(Figures::default), false),
            Place::Output => self.open.output = Items::default(),
            Place::Item(_) => self.item = Item::default(),
            _ => {}
        }
    }

    #[inline]
    fn close(&mut self, at: Place, array: bool, empty: bool) {
        match at {
            Place::Root if !array => self.commit(),
            Place::Usage if empty => self.open.usage = None,
            Place::Usage => self.open.closed = true,
            Place::Error => self.open.error |= !empty,
            Place::Item(from) => self.end_item(from),
            _ => {}
        }
    }

    #[inline]
    fn value(&mut self, at: Place, value: Value<'_>) {
        match at {
            Place::Type => self.open.event = event(value),
            Place::Object => self.open.response |= matches!(value, Value::Text(text) if text.starts_with(b"response")),
            Place::Id => keep(&mut self.seen.id, value),
            Place::Model => keep(&mut self.seen.model, value),
            Place::Tier => keep(&mut self.seen.terms.service_tier, value),
            Place::Status => {
                self.open.status = Some(match value {
                    Value::Text(b"queued") => Status::Queued,
                    Value::Text(b"failed") => Status::Failed,
                    _ => Status::Other,
                });
            }
            Place::Error => self.open.error |= says_so(value),
            Place::ErrorKind => {
                if self.open.error_kind.is_none() {
                    keep_code(&mut self.open.error_kind, value);
                }
            }
            Place::ItemType(_) => {
                self.item.of = match value {
                    Value::Text(b"web_search_call") => ItemType::WebSearch,
                    Value::Text(b"image_generation_call") => ItemType::Picture,
                    _ => ItemType::Other,
                }
            }
            Place::ItemActionType(_) => self.item.other_action = !matches!(value, Value::Text(b"search") | Value::Null),
            Place::ItemQuality(_) => keep(&mut self.item.quality, value),
            Place::ItemSize(_) => keep(&mut self.item.size, value),
            Place::Container => keep(&mut self.seen.container, value),
            Place::Usage => self.open.usage = None,
            Place::Figure(figure) => self.open.usage.get_or_insert_default().set(figure, value),
            Place::Searches => self.open.searches = Count::of(value),
            Place::SearchContext => keep(&mut self.seen.terms.search_context, value),
            _ => {}
        }
    }

    #[inline]
    fn text(&mut self, at: Place, piece: &[u8]) {
        match at {
            Place::ItemResult(_) => self.item.result = true,
            Place::Delta => self.open.text.add(piece),
            _ => {
                self.seen.content = true;
                self.message.add(piece);
            }
        }
    }
}

fn event(value: Value<'_>) -> Event {
    let Value::Text(name) = value else { return Event::Other };
    match name {
        b"response.completed" | b"response.done" => Event::Completed,
        b"response.incomplete" => Event::Incomplete,
        b"response.failed" => Event::Failed,
        b"response.output_item.done" => Event::Item,
        b"error" => Event::Error,
        _ if name.ends_with(b".delta") => Event::Delta,
        _ if name.ends_with(b"_call.completed") => Event::Call,
        _ => Event::Other,
    }
}

impl Responses {
    fn end_item(&mut self, from: From) {
        let items = match from {
            From::Output => &mut self.open.output,
            From::Event => &mut self.open.item,
        };
        let is_search = self.item.of == ItemType::WebSearch && !self.item.other_action;
        let is_picture = self.item.of == ItemType::Picture && self.item.result;
        items.all += 1;
        items.searches += u64::from(is_search);
        items.pictures += u64::from(is_picture);
        if is_picture && let (Some(quality), Some(size)) = (&self.item.quality, &self.item.size) {
            self.seen.terms.image_kind = Some(format!("{quality}/{size}"));
        }
    }

    /// An event came whole.
    fn commit(&mut self) {
        let open = &mut self.open;
        self.seen.events += 1;
        match open.event {
            Event::Delta => {
                self.seen.content = true;
                self.seen.text.add_all(&open.text);
            }
            Event::Item => {
                self.seen.content = true;
                self.items.all += open.item.all;
                self.items.searches += open.item.searches;
                self.items.pictures += open.item.pictures;
            }
            Event::Call => self.seen.content = true,
            Event::Completed | Event::Incomplete | Event::Failed => self.seen.terminal = true,
            Event::Error | Event::Other => {}
        }
        self.status = open.status.unwrap_or(self.status);
        self.seen.content |= open.output.all > 0;
        if open.output.all > 0 {
            self.output = open.output;
        }
        if open.searches.is_there() {
            self.searches = open.searches;
        }
        if let Some(figures) = open.usage.take() {
            figures.note(&mut self.seen);
            self.figures = Some(figures);
        }
        let failed = matches!(open.event, Event::Error | Event::Failed) || self.status == Status::Failed;
        if failed || open.error && !open.response {
            self.seen.fail(&open.error_kind);
        }
    }

    /// Rules 1 and 3.
    fn usage(&self, figures: &Figures, items: Items) -> Usage {
        let mut usage = figures.responses();
        let searches = if self.searches.is_there() { Some(self.searches.whole()) } else { figures.search_calls() };
        usage.set(Class::Searches, searches.unwrap_or(items.searches));
        usage.set(Class::Images, items.pictures);
        usage
    }
}

impl Answer for Responses {
    fn seen(&self) -> &Seen {
        &self.seen
    }

    fn may_end(&self) -> bool {
        false
    }

    fn message(&self) -> ScriptBytes {
        self.message
    }

    fn judge(&self, ending: &Ending<'_>) -> Judged {
        let cut = self.open.usage.filter(|_| !ending.stream && self.open.closed);
        let content = self.seen.content || !ending.stream && self.open.output.all > 0;
        // A final answer that lists no items (as ChatGPT's backend sends it) does not unmake those that came one by one.
        let items = if self.output.all > 0 { self.output } else { self.items };
        if let Some(figures) = self.figures.or(cut) {
            let usage = self.usage(&figures, items);
            let odd = figures.is_odd() || self.searches == Count::Odd;
            if odd || !usage.is_empty() || !content && self.seen.error.is_none() {
                return Judged { basis: Basis::Reported, usage, odd, ..Judged::default() };
            }
        }
        let failed = self.seen.error.is_some() || self.status == Status::Failed;
        if self.status == Status::Queued || failed && !content {
            return Judged::bare(Basis::None);
        }
        Judged::bare(Basis::Estimated)
    }
}

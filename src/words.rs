//! What things are called: the words that the rooms share, and nothing that decides.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

// ------------------------------------------------------------------ names

/// The id of an enterprise, group, user, account, pool, service, department or project: `[a-z0-9][a-z0-9-]{0,62}`.
/// (An account made of a user's own key is the one exception: `own/<user>/<service>`.) Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(Arc<str>);

impl Id {
    /// Takes the text as it is; the configuration has checked it.
    pub fn new(text: impl Into<Arc<str>>) -> Id {
        Id(text.into())
    }
    /// Whether `text` may stand as an id in the configuration.
    pub fn is_valid(text: &str) -> bool {
        let bytes = text.as_bytes();
        let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        (1..=63).contains(&bytes.len()) && plain(&bytes[0]) && bytes.iter().all(|b| plain(b) || *b == b'-')
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl std::borrow::Borrow<str> for Id {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Id {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Id {
        Id(text.into())
    }
}

/// Milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// This moment and `ms` milliseconds more.
    pub fn plus_ms(self, ms: i64) -> UnixMs {
        UnixMs(self.0.saturating_add(ms))
    }
    /// How many milliseconds from `earlier` to this moment; negative if this one is earlier.
    pub fn since_ms(self, earlier: UnixMs) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A credential or a key. It has no `Display`, and its `Debug` tells nothing.
#[derive(Clone)]
pub struct Secret(Arc<secrecy::SecretString>);

impl Secret {
    pub fn new(text: String) -> Secret {
        Secret(Arc::new(secrecy::SecretString::from(text)))
    }
    /// The text itself: only for sending it to the provider it belongs to, and for fingerprints.
    pub fn expose(&self) -> &str {
        secrecy::ExposeSecret::expose_secret(&*self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

// ------------------------------------------------------------------ what a request is

/// A wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    Anthropic,
    Openai,
    Gemini,
}

impl Dialect {
    pub const ALL: [Dialect; 3] = [Dialect::Anthropic, Dialect::Openai, Dialect::Gemini];
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Anthropic => "anthropic",
            Dialect::Openai => "openai",
            Dialect::Gemini => "gemini",
        }
    }
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    Messages,
    Chat,
    Responses,
    Completions,
    Generate,
    Embeddings,
    Images,
    Audio,
    Moderations,
    Rerank,
    CountTokens,
    Models,
    Files,
    Batches,
}

impl Operation {
    pub const ALL: [Operation; 14] = [
        Operation::Messages,
        Operation::Chat,
        Operation::Responses,
        Operation::Completions,
        Operation::Generate,
        Operation::Embeddings,
        Operation::Images,
        Operation::Audio,
        Operation::Moderations,
        Operation::Rerank,
        Operation::CountTokens,
        Operation::Models,
        Operation::Files,
        Operation::Batches,
    ];
    /// The name in YAML, log and docs.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Messages => "messages",
            Operation::Chat => "chat",
            Operation::Responses => "responses",
            Operation::Completions => "completions",
            Operation::Generate => "generate",
            Operation::Embeddings => "embeddings",
            Operation::Images => "images",
            Operation::Audio => "audio",
            Operation::Moderations => "moderations",
            Operation::Rerank => "rerank",
            Operation::CountTokens => "count_tokens",
            Operation::Models => "models",
            Operation::Files => "files",
            Operation::Batches => "batches",
        }
    }
}

impl FromStr for Operation {
    type Err = ();
    fn from_str(text: &str) -> Result<Operation, ()> {
        Operation::ALL.into_iter().find(|o| o.name() == text).ok_or(())
    }
}

/// A set of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operations(u16);

impl Operations {
    pub const NONE: Operations = Operations(0);
    pub const ALL: Operations = Operations((1 << Operation::ALL.len()) - 1);
    /// What a group allows unless it says otherwise: all but files and batches.
    pub const DEFAULT: Operations = Operations(Self::ALL.0 & !(1 << Operation::Files as u16) & !(1 << Operation::Batches as u16));
    pub fn with(self, operation: Operation) -> Operations {
        Operations(self.0 | 1 << operation as u16)
    }
    pub fn contains(self, operation: Operation) -> bool {
        self.0 & 1 << operation as u16 != 0
    }
}

// ------------------------------------------------------------------ what was used

/// A class of usage. Each token counts in exactly one; the last three count other things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    Input,
    CacheRead,
    CacheWrite5m,
    CacheWrite1h,
    CacheWrite12h,
    InputAudio,
    InputImage,
    InputVideo,
    CacheReadAudio,
    CacheReadImage,
    Output,
    Reasoning,
    OutputAudio,
    OutputImage,
    OutputVideo,
    /// Pictures given.
    Images,
    /// Web searches made by the provider.
    Searches,
    /// Audio, in **milliseconds** here; shown as `seconds`.
    Seconds,
}

impl Class {
    pub const COUNT: usize = 18;
    pub const ALL: [Class; Class::COUNT] = [
        Class::Input,
        Class::CacheRead,
        Class::CacheWrite5m,
        Class::CacheWrite1h,
        Class::CacheWrite12h,
        Class::InputAudio,
        Class::InputImage,
        Class::InputVideo,
        Class::CacheReadAudio,
        Class::CacheReadImage,
        Class::Output,
        Class::Reasoning,
        Class::OutputAudio,
        Class::OutputImage,
        Class::OutputVideo,
        Class::Images,
        Class::Searches,
        Class::Seconds,
    ];
    /// The classes that are tokens.
    pub const TOKENS: &'static [Class] = Class::ALL.split_at(15).0;
    /// The name in log, metrics and price files.
    pub fn name(self) -> &'static str {
        match self {
            Class::Input => "input",
            Class::CacheRead => "cache_read",
            Class::CacheWrite5m => "cache_write_5m",
            Class::CacheWrite1h => "cache_write_1h",
            Class::CacheWrite12h => "cache_write_12h",
            Class::InputAudio => "input_audio",
            Class::InputImage => "input_image",
            Class::InputVideo => "input_video",
            Class::CacheReadAudio => "cache_read_audio",
            Class::CacheReadImage => "cache_read_image",
            Class::Output => "output",
            Class::Reasoning => "reasoning",
            Class::OutputAudio => "output_audio",
            Class::OutputImage => "output_image",
            Class::OutputVideo => "output_video",
            Class::Images => "images",
            Class::Searches => "searches",
            Class::Seconds => "seconds",
        }
    }
    /// Whether tokens of this class are part of the prompt.
    pub fn is_prompt(self) -> bool {
        (self as usize) < Class::Output as usize
    }
}

/// Counts in disjoint classes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage([u64; Class::COUNT]);

impl Usage {
    pub fn get(&self, class: Class) -> u64 {
        self.0[class as usize]
    }
    pub fn set(&mut self, class: Class, count: u64) {
        self.0[class as usize] = count;
    }
    pub fn add(&mut self, class: Class, count: u64) {
        let here = &mut self.0[class as usize];
        *here = here.saturating_add(count);
    }
    /// Adds each class of `other`.
    pub fn add_all(&mut self, other: &Usage) {
        for class in Class::ALL {
            self.add(class, other.get(class));
        }
    }
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }
    /// The classes that are not zero, in the order of [`Class::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Class, u64)> + '_ {
        Class::ALL.into_iter().map(|class| (class, self.get(class))).filter(|(_, count)| *count > 0)
    }
    /// All tokens of the prompt, cached ones included.
    pub fn prompt_tokens(&self) -> u64 {
        Class::TOKENS.iter().filter(|c| c.is_prompt()).fold(0, |sum, c| sum.saturating_add(self.get(*c)))
    }
    /// All tokens, of the prompt and of the answer.
    pub fn all_tokens(&self) -> u64 {
        Class::TOKENS.iter().fold(0, |sum, c| sum.saturating_add(self.get(*c)))
    }
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(class, count)| (class.name(), count))).finish()
    }
}

impl FromIterator<(Class, u64)> for Usage {
    fn from_iter<I: IntoIterator<Item = (Class, u64)>>(counts: I) -> Usage {
        let mut usage = Usage::default();
        counts.into_iter().for_each(|(class, count)| usage.add(class, count));
        usage
    }
}

/// Where the counts of a usage come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Basis {
    /// The provider's final figures.
    Reported,
    /// Some of the provider's figures, but not the final ones; the rest is estimated.
    Partial,
    /// Content came, but no figures.
    Estimated,
    /// Nothing to charge.
    #[default]
    None,
}

impl Basis {
    pub fn name(self) -> &'static str {
        match self {
            Basis::Reported => "reported",
            Basis::Partial => "partial",
            Basis::Estimated => "estimated",
            Basis::None => "none",
        }
    }
}

/// What a meter found in one answer.
#[derive(Clone, Debug, Default)]
pub struct Metered {
    /// The sum over all rounds.
    pub usage: Usage,
    pub basis: Basis,
    /// The model as the answer names it.
    pub model: Option<String>,
    /// Rounds that another model served (Anthropic's advisor): already part of `usage`, priced by their own model.
    pub rounds: Vec<Round>,
    /// What decides which block of the price book applies.
    pub terms: Terms,
    /// What the provider says that it billed.
    pub provider_cost: Option<Nanodollars>,
    /// The provider's error type, where an error came in the answer.
    pub error: Option<String>,
    /// Whether content came before the end.
    pub content: bool,
    /// Whether the answer came to its own end (`message_stop`, `[DONE]`, `response.completed`, a whole JSON …).
    pub complete: bool,
    /// Figures were negative, fractional or beyond all measure, and gave way to the estimate.
    pub implausible: bool,
    /// The id under which the provider keeps what it made (a response, file or batch), if the answer named one.
    pub object_id: Option<String>,
}

/// The part of one answer that a model other than the asked-for one served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    pub model: String,
    pub usage: Usage,
}

/// What an answer says of the terms it was served on; see `prices.README.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// `service_tier` as answered: `default`, `flex`, `priority`, `fast`, `standard`, `batch` …
    pub service_tier: Option<String>,
    /// Anthropic `usage.speed: "fast"`.
    pub speed_fast: bool,
    /// Anthropic `usage.inference_geo`.
    pub inference_geo: Option<String>,
    /// How many pictures of which quality and size were asked for or answered, as `quality/WxH`, where it is known.
    pub image_kind: Option<String>,
    /// The search context size asked for (`low`, `medium`, `high`), where it is known.
    pub search_context: Option<String>,
}

// ------------------------------------------------------------------ money

/// 1e-9 USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanodollars(pub u64);

/// A factor such as `charge_factor`, exact: units of 1e-9. `Factor::ONE` is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Factor(pub u64);

impl Factor {
    pub const SCALE: u64 = 1_000_000_000;
    pub const ONE: Factor = Factor(Factor::SCALE);
}

/// Reads a decimal such as `12.50`, `1_000` or `0.0001` exactly, in units of 1e-9, from its written text: never through
/// a float. `Err` says what is wrong: a sign, an exponent, more than nine decimals, too large.
pub fn parse_decimal_nano(text: &str) -> Result<u64, String> {
    let clean: String = text.trim().chars().filter(|c| *c != '_').collect();
    if clean.starts_with('-') {
        return Err(format!("{} is negative", text.trim()));
    }
    let (whole, part) = clean.split_once('.').unwrap_or((&clean, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if clean.is_empty() || whole.is_empty() && part.is_empty() || !digits(whole) || !digits(part) {
        return Err(format!("{:?} is not a decimal number such as 12.50", text.trim()));
    }
    if part.len() > 9 {
        return Err(format!("{} has more than nine decimals", text.trim()));
    }
    let whole: u64 = if whole.is_empty() { Ok(0) } else { whole.parse() }.map_err(|_| format!("{} is too large", text.trim()))?;
    let fraction: u64 = format!("{part:0<9}").parse().unwrap_or(0);
    whole.checked_mul(Factor::SCALE).and_then(|n| n.checked_add(fraction)).ok_or_else(|| format!("{} is too large", text.trim()))
}

// ------------------------------------------------------------------ how an attempt ended

/// What the answer (or its absence) to one attempt means. Names as in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// Served.
    Accept,
    /// The request's own fault: passed on as it is.
    Request,
    Credential,
    Money,
    RateLimit,
    Overloaded,
    Server,
    Connect,
    /// This account lacks this model.
    Model,
    /// A pooled connection was closed by the other side before any response byte: the same account once more.
    Reused,
}

impl Verdict {
    pub const ALL: [Verdict; 10] = [
        Verdict::Accept,
        Verdict::Request,
        Verdict::Credential,
        Verdict::Money,
        Verdict::RateLimit,
        Verdict::Overloaded,
        Verdict::Server,
        Verdict::Connect,
        Verdict::Model,
        Verdict::Reused,
    ];
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Accept => "accept",
            Verdict::Request => "request",
            Verdict::Credential => "credential",
            Verdict::Money => "money",
            Verdict::RateLimit => "rate_limit",
            Verdict::Overloaded => "overloaded",
            Verdict::Server => "server",
            Verdict::Connect => "connect",
            Verdict::Model => "model",
            Verdict::Reused => "reused",
        }
    }
    /// Whether the answer goes to the client as it is.
    pub fn passes_on(self) -> bool {
        matches!(self, Verdict::Accept | Verdict::Request)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Ok,
    /// By us.
    Refused,
    /// The provider's error passed on, or made by us after failovers.
    Failed,
    /// The client left.
    Aborted,
    /// The upstream died in mid-stream.
    Cut,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::Aborted => "aborted",
            Outcome::Cut => "cut",
        }
    }
}

/// Who served: an account bound by the group, one of a pool, or the user's own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    Dedicated,
    Pool,
    Own,
}

impl Via {
    pub fn name(self) -> &'static str {
        match self {
            Via::Dedicated => "dedicated",
            Via::Pool => "pool",
            Via::Own => "own",
        }
    }
}

// ------------------------------------------------------------------ refusals

/// Why the gateway itself refuses: the codes of the design's section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    MissingKey,
    UnknownKey,
    KeyDisabled,
    KeyExpired,
    AddressNotAllowed,
    UserDisabled,
    GroupDisabled,
    ServiceNotAllowed,
    ModelNotAllowed,
    OperationNotAllowed,
    UnpricedModel,
    UnknownPath,
    UnknownModel,
    MethodNotAllowed,
    BadRequest,
    BodyTooLarge,
    RateLimited,
    AccountsRateLimited,
    NoAccount,
    Overloaded,
    ShuttingDown,
    UpstreamFailed,
    UpstreamTimeout,
    /// A WebSocket upgrade on `/v1/responses`: 426, so that Codex falls back to POST.
    UpgradeRequired,
}

/// A refusal by the gateway, before it is put into a dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    /// What to do, in words for the caller; nothing of other tenants or accounts.
    pub message: String,
    pub again: Again,
    /// The methods that would do, where only the method was wrong: `GET, DELETE`.
    pub allow: Option<String>,
}

/// When trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Not known: no `retry-after`, no `x-should-retry`.
    Unknown,
    /// Not before this moment.
    At(UnixMs),
    /// Never, unless something is changed.
    Never,
}

impl Refusal {
    /// A refusal that trying again does not cure.
    pub fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), again: Again::Never, allow: None }
    }
    /// The same, with word of when to try again; where that is more than a minute away, the message names the moment too.
    pub fn again(mut self, again: Again) -> Refusal {
        self.again = again;
        self
    }
}

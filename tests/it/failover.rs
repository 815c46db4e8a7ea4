//! A fault at one account: the next one gets the very same body, the client one clean answer.

use bytes::Bytes;
use serde_json::json;

use crate::harness::log::{attempts, has};
use crate::harness::requests::{anthropic, chat, messages, messages_of, messages_stream};
use crate::harness::script::{close_before_answer, close_before_reading, reset_before_answer, silence};
use crate::harness::setups::{QUICK, claude, openai, pair_key, pairs, us, us_with};
use crate::harness::*;

/// What the first account's provider does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Status(u16),
    /// Before the body was read; the connection is closed then.
    EarlyStatus,
    /// 200, then `message_start`, a ping and an error event.
    ErrorEvent,
    EmptyStream,
    /// 200 with JSON that says it is an error.
    ErrorInJson,
    CloseBeforeReading,
    CloseAfterReading,
    ResetAfterReading,
    /// HTTP/2 only.
    StreamReset,
    GoAway,
    RefusedPort,
    /// TLS is spoken to a port without TLS.
    NoTls,
    WrongName,
    NoFirstByte,
}

use Fault::*;

impl Fault {
    const STATUSES: [Fault; 6] = [Status(401), Status(402), Status(408), Status(429), Status(500), Status(529)];
    const OTHERS: [Fault; 10] = [
        EarlyStatus,
        ErrorEvent,
        EmptyStream,
        ErrorInJson,
        CloseBeforeReading,
        CloseAfterReading,
        ResetAfterReading,
        RefusedPort,
        NoTls,
        WrongName,
    ];
    fn streams(self) -> bool {
        matches!(self, ErrorEvent | EmptyStream | CloseAfterReading)
    }
    /// What the log may call it.
    fn verdicts(self) -> &'static [&'static str] {
        match self {
            Status(401) => &["credential"],
            Status(402) => &["money"],
            Status(429) | EarlyStatus => &["rate_limit"],
            Status(529) | ErrorEvent => &["overloaded"],
            RefusedPort | NoTls | WrongName => &["connect"],
            Status(_) | EmptyStream | ErrorInJson | NoFirstByte => &["server"],
            _ => &["server", "connect"],
        }
    }
    fn script(self) -> Script {
        match self {
            Status(status) => answers::refusal("/v1/messages", status),
            EarlyStatus => {
                let mut script = answers::refusal("/v1/messages", 429).before_body();
                script.steps.pop();
                script.then(Step::EndAndClose)
            }
            ErrorEvent => {
                let mut events = answers::messages_prelude();
                events.insert(0, ": hello\n\n".to_owned());
                events.push(answers::error_event("overloaded_error"));
                Script::stream(events)
            }
            EmptyStream => Script::stream(Vec::<String>::new()),
            ErrorInJson => Script::json(200, json!({"error": {"type": "api_error", "message": "the provider says so"}})),
            CloseBeforeReading => close_before_reading(),
            CloseAfterReading => close_before_answer(),
            ResetAfterReading => reset_before_answer(),
            StreamReset => Script::steps([Step::StreamReset(h2::Reason::INTERNAL_ERROR)]),
            GoAway => Script::steps([Step::GoAway(h2::Reason::INTERNAL_ERROR)]),
            NoFirstByte => silence(),
            RefusedPort | NoTls | WrongName => panic!("no request comes that far"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    TlsH1,
    TlsH2,
}

impl Kind {
    async fn provider(self, authority: &Authority) -> Provider {
        match self {
            Kind::Plain => Provider::plain().await,
            Kind::TlsH1 => Provider::tls_h1(authority).await,
            Kind::TlsH2 => Provider::tls_h2(authority).await,
        }
    }
}

struct Case {
    fault: Fault,
    size: usize,
    form: Form,
}

const KB64: usize = 65_536;
const SIZES: [usize; 5] = [1024, KB64 - 1, KB64, KB64 + 1, 1 << 20];

fn cases(faults: &[Fault], sizes: &[usize]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &fault in faults {
        for &size in sizes {
            cases.extend(Form::ALL.map(|form| Case { fault, size, form }));
        }
    }
    cases
}

/// Runs each case with two accounts of its own, so that no parking of one reaches the next.
async fn sweep(kind: Kind, cases: Vec<Case>) {
    let authority = Authority::new();
    let good = kind.provider(&authority).await;
    let bad = kind.provider(&authority).await;
    let plain = Provider::plain().await;
    let stranger = Provider::with(authority.identity(&["other.example"]).acceptor(&["h2", "http/1.1"])).await;
    let nobody = NobodyThere::new();
    let faults: Vec<Fault> = cases.iter().map(|case| case.fault).collect();
    bad.answers_early(move |request| {
        let number: usize = request.credential().strip_prefix("sk-bad").unwrap().parse().unwrap();
        Some(faults[number].script())
    });

    let first = |number: usize| match cases[number].fault {
        RefusedPort => nobody.origin(),
        NoTls => format!("https://{}", plain.address),
        WrongName => stranger.origin(),
        _ => bad.origin(),
    };
    let quick = if cases.iter().all(|case| case.fault == NoFirstByte) { QUICK } else { "" };
    let yaml = quick.to_owned() + &pairs(cases.len(), first, &good.origin());
    let gateway = Gateway::with(yaml).file("ca.pem", &authority.ca_pem).start().await;

    for (number, case) in cases.iter().enumerate() {
        let what = format!("{kind:?} {:?} {} {:?}", case.fault, case.size, case.form);
        let request = messages_of(case.size, case.fault.streams()).without("x-api-key").key(&pair_key(number));
        let answer = case.form.ask(gateway.address, &request).await;
        assert_eq!((answer.status, answer.whole), (200, true), "{what}: {answer:?}");
        let served = Bytes::from(if case.fault.streams() {
            answers::messages_stream(&["po", "ng"]).body()
        } else {
            answers::messages("pong").body()
        });
        assert_eq!(answer.body, served, "{what}");

        let mine = good.requests_of(&format!("sk-good{number}"));
        assert_eq!(mine.len(), 1, "{what}: the second account was asked {} times", mine.len());
        assert!(
            mine[0].body == request.body,
            "{what}: {} bytes reached the second account, of {}, or others",
            mine[0].body.len(),
            request.body.len()
        );
        assert_eq!(mine[0].http2, kind == Kind::TlsH2, "{what}");
        let asked = bad.requests_of(&format!("sk-bad{number}")).len();
        assert!(asked <= 1, "{what}: the first account was asked {asked} times");

        let line = gateway.line_of(&answer).await;
        let verdicts: Vec<String> = case.fault.verdicts().iter().map(|v| format!("bad{number} {v}")).collect();
        let told = attempts(&line);
        assert!(told.len() == 2 && verdicts.contains(&told[0]) && told[1] == format!("good{number} accept"), "{what}: {line:#}");
        has(
            &line,
            json!({"outcome": "ok", "status": 200, "account": format!("good{number}"), "request_bytes": case.size, "basis": "reported"}),
        );
    }
    assert!(!gateway.said().contains("panicked"), "{}", gateway.said());
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("failovers_total", &[]), cases.len() as f64, "{metrics:?}");
    assert_eq!(metrics.sum("account_in_flight", &[]), 0.0);
}

async fn sweep_all(kind: Kind, faults: &[Fault]) {
    let mut sizes = SIZES.to_vec();
    if std::env::var("AICARPOOL_SLOW").is_ok() {
        sizes.push(20 << 20);
    }
    sweep(kind, cases(faults, &sizes)).await;
}

#[tokio::test]
async fn by_status_to_a_plain_provider() {
    sweep_all(Kind::Plain, &Fault::STATUSES).await;
}
#[tokio::test]
async fn by_status_to_a_tls_provider() {
    sweep_all(Kind::TlsH1, &Fault::STATUSES).await;
}
#[tokio::test]
async fn by_status_to_an_h2_provider() {
    sweep_all(Kind::TlsH2, &Fault::STATUSES).await;
}
#[tokio::test]
async fn by_event_and_transport_to_a_plain_provider() {
    sweep_all(Kind::Plain, &Fault::OTHERS).await;
}
#[tokio::test]
async fn by_event_and_transport_to_a_tls_provider() {
    sweep_all(Kind::TlsH1, &Fault::OTHERS).await;
}
#[tokio::test]
async fn by_event_and_transport_to_an_h2_provider() {
    sweep_all(Kind::TlsH2, &Fault::OTHERS).await;
    sweep_all(Kind::TlsH2, &[StreamReset, GoAway]).await;
}
#[tokio::test]
async fn bodies_of_twenty_megabytes() {
    for (kind, fault) in
        [(Kind::Plain, Status(529)), (Kind::TlsH1, ErrorEvent), (Kind::TlsH2, CloseAfterReading), (Kind::TlsH2, EarlyStatus)]
    {
        sweep(kind, cases(&[fault], &[20 << 20])).await;
    }
}
#[tokio::test]
async fn a_provider_that_never_begins_to_answer() {
    for kind in [Kind::Plain, Kind::TlsH1, Kind::TlsH2] {
        let forms = [(1024, Form::H1Length), (KB64 + 1, Form::H2NoLength)];
        sweep(kind, forms.map(|(size, form)| Case { fault: NoFirstByte, size, form }).into()).await;
    }
}

// ------------------------------------------------------------------ what is passed on, and when it ends

async fn two(first: &Provider, second: &Provider) -> Gateway {
    Gateway::with(us(&[claude("a", &first.origin()), claude("b", &second.origin())])).start().await
}

#[tokio::test]
async fn what_is_wrong_with_the_request_is_passed_on_as_it_is() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let gateway = two(&first, &second).await;
    let told = [
        (400, "prompt is too long: 215000 tokens > 200000 maximum"),
        (400, "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"),
        (413, "Request exceeds the maximum size"),
        (422, "unprocessable"),
        (405, "no such method"),
        (415, "no such media type"),
    ];
    for (status, message) in told {
        let script = Script::json(status, answers::anthropic_error("invalid_request_error", message)).header("x-odd", "kept");
        first.then(script.clone());
        let answer = gateway.ask(&messages()).await.expect(status);
        assert_eq!((answer.body.to_vec(), answer.header("x-odd")), (script.body(), Some("kept")));
        has(
            &gateway.line_of(&answer).await,
            json!({"outcome": "failed", "status": status, "basis": "none", "account": "a", "error": "invalid_request_error"}),
        );
    }
    assert_eq!(second.requests().len(), 0);
    gateway.ask(&messages()).await.expect(200);
    assert_eq!(second.requests().len(), 0, "a fault of the request must not park the account");
}

#[tokio::test]
async fn the_last_answer_is_passed_on_after_failovers() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let gateway = two(&first, &second).await;
    first.then(answers::refusal("/v1/messages", 500));
    let script = Script::json(529, answers::anthropic_error("overloaded_error", "the second says so"));
    second.then(script.clone());
    let answer = gateway.ask(&messages()).await.expect(529);
    assert_eq!(answer.body.to_vec(), script.body());
    let line = gateway.line_of(&answer).await;
    assert_eq!(attempts(&line), ["a server", "b overloaded"]);
    has(&line, json!({"outcome": "failed", "status": 529, "basis": "none"}));
}

#[tokio::test]
async fn an_answer_that_was_given_is_remembered_over_a_refused_connection() {
    let (first, nobody) = (Provider::plain().await, NobodyThere::new());
    let gateway = Gateway::with(us(&[claude("a", &first.origin()), claude("b", &nobody.origin())])).start().await;
    let script = Script::json(529, answers::anthropic_error("overloaded_error", "the first says so"));
    first.then(script.clone());
    let answer = gateway.ask(&messages()).await.expect(529);
    assert_eq!(answer.body.to_vec(), script.body());
    let line = gateway.line_of(&answer).await;
    assert_eq!(attempts(&line), ["a overloaded", "b connect"]);
    has(&line, json!({"outcome": "failed", "status": 529, "error": "overloaded_error"}));
}

#[tokio::test]
async fn faults_of_accounts_are_never_shown_as_such() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    for status in [401, 402, 403] {
        let gateway = two(&first, &second).await;
        first.then(Script::json(status, answers::anthropic_error("authentication_error", "invalid x-api-key sk-a")));
        second.then(Script::json(401, answers::anthropic_error("authentication_error", "invalid x-api-key sk-b")));
        let answer = gateway.ask(&messages()).await.refused(503, "no_account");
        assert!(!answer.text().contains("x-api-key"), "{answer:?}");
    }
}

#[tokio::test]
async fn an_error_event_becomes_a_plain_answer_when_nobody_is_left() {
    let provider = Provider::plain().await;
    let cases = [
        ("overloaded_error", 529),
        ("rate_limit_error", 429),
        ("invalid_request_error", 400),
        ("api_error", 500),
        ("odd_error", 500),
    ];
    for (kind, status) in cases {
        let gateway = Gateway::with(us(&[claude("a", &provider.origin())])).start().await;
        let mut events = answers::messages_prelude();
        events.push(answers::error_event(kind));
        provider.then(Script::stream(events));
        let answer = gateway.ask(&messages_stream()).await.expect(status);
        let body = answer.json();
        assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)), "{answer:?}");
        assert!(answer.header("content-type").is_some_and(|t| t.starts_with("application/json")), "{answer:?}");
    }
}

#[tokio::test]
async fn never_more_than_max_attempts() {
    let provider = Provider::plain().await;
    provider.answers(|request| answers::refusal(request.path(), 500));
    let accounts: Vec<String> = ["a", "b", "c", "d"].iter().map(|id| claude(id, &provider.origin())).collect();
    for (most, yaml) in [
        (3, us(&accounts)),
        (2, us_with(&accounts, "    failover: {max_attempts: 2}\n")),
        (1, us_with(&accounts, "    failover: {max_attempts: 1}\n")),
    ] {
        let gateway = Gateway::with(yaml).start().await;
        let before = provider.requests().len();
        let answer = gateway.ask(&messages()).await.expect(500);
        assert_eq!(provider.requests().len() - before, most);
        assert_eq!(attempts(&gateway.line_of(&answer).await).len(), most);
    }
}

#[tokio::test]
async fn redirects_are_never_followed_nor_passed_on() {
    let (first, second, third) = (Provider::plain().await, Provider::plain().await, Provider::plain().await);
    let gateway = two(&first, &second).await;
    first.then(Script::answer(302, "text/html", "moved").header("location", &third.origin()));
    gateway.ask(&messages()).await.expect(200);
    first.then(Script::answer(307, "text/html", "moved").header("location", &third.origin()));
    second.then(Script::answer(308, "text/html", "moved").header("location", &third.origin()));
    let answer = gateway.ask(&messages()).await.expect(502);
    assert_eq!(answer.header("location"), None, "{answer:?}");
    assert_eq!(third.requests().len(), 0);
}

/// A pooled connection that the provider has closed meanwhile is no fault of the account.
#[tokio::test]
async fn a_stale_pooled_connection_is_tried_anew_on_the_same_account() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("a", &provider.origin())])).start().await;
    for _ in 0..4 {
        let mut script = answers::messages("pong");
        script.steps.pop();
        provider.then(script.then(Step::EndAndClose));
        gateway.ask(&messages_of(KB64 + 1, false)).await.expect(200);
    }
    // The connection dies when the second request is already on it.
    let connections = provider.connections();
    provider.then(answers::messages("pong")).then(reset_before_answer()).then(answers::messages("pong"));
    gateway.ask(&messages()).await.expect(200);
    let answer = gateway.ask(&messages_of(KB64 + 1, false)).await.expect(200);
    assert_eq!(provider.connections() - connections, 2);
    let on: Vec<usize> = provider.requests().iter().rev().take(3).map(|r| r.connection).collect();
    assert!(on[1] == on[2] && on[0] != on[1], "the pooled connection, then a new one: {on:?}");
    let line = gateway.line_of(&answer).await;
    assert_eq!(attempts(&line), ["a reused", "a accept"], "{line:#}");
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("account_parked", &[("account", "a")]), 0.0, "{metrics:?}");
}

/// What the first try may have done must not be done twice: a reset on a new connection is no stale one.
#[tokio::test]
async fn never_the_same_account_twice_otherwise() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("a", &provider.origin())])).start().await;
    provider.always(reset_before_answer());
    gateway.ask(&messages()).await.refused(502, "upstream_failed");
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn nothing_is_sent_twice_after_the_first_byte() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let gateway = two(&first, &second).await;
    let mut events = answers::messages_events(&["po", "ng"]);
    events.truncate(4);
    first.then(Script::open_stream(events.clone()).then(Step::Reset));
    let answer = gateway.ask(&messages_stream()).await.expect(200);
    assert!(answer.text().starts_with(&events.concat()), "{answer:?}");
    assert_eq!(second.requests().len(), 0);
    has(&gateway.line_of(&answer).await, json!({"outcome": "cut", "status": 200}));
}

#[tokio::test]
async fn an_error_in_a_json_answer_is_an_error() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    for body in [
        json!({"error": {"message": "server busy", "type": "server_error", "code": "server_error"}}),
        json!({"base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded"}}),
        json!({"code": "InternalError", "message": "the provider says so"}),
    ] {
        let gateway = Gateway::with(us(&[openai("a", &first.origin()), openai("b", &second.origin())])).start().await;
        first.then(Script::json(200, body.clone()));
        let answer = gateway.ask(&chat()).await.expect(200);
        assert_eq!(answer.json()["choices"][0]["message"]["content"], "pong", "{body}");
    }
    // Members of that name which say nothing are no error.
    let gateway = Gateway::with(us(&[openai("a", &first.origin()), openai("b", &second.origin())])).start().await;
    let mut fine = serde_json::from_slice::<serde_json::Value>(&answers::chat("pong").body()).unwrap();
    fine["error"] = serde_json::Value::Null;
    fine["base_resp"] = json!({"status_code": 0, "status_msg": "success"});
    first.then(Script::json(200, fine.clone()));
    assert_eq!(gateway.ask(&chat()).await.expect(200).json(), fine);
}

#[tokio::test]
async fn a_connection_serves_on_after_each_refusal() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("a", &provider.origin())])).start().await;
    let mut client = gateway.connect().await;
    client.ask(&messages().without("x-api-key")).await.refused(401, "missing_key");
    client.ask(&messages()).await.expect(200);
    client.ask(&Request::get("/v1/nothing").key(KEY)).await.refused(404, "unknown_path");
    client.ask(&anthropic("not json")).await.refused(400, "bad_request");
    client.ask(&messages_of(KB64 + 1, false)).await.expect(200);
    provider.then(answers::refusal("/v1/messages", 400));
    client.ask(&messages()).await.expect(400);
    // The pooled connection first, then a new one.
    provider.then(reset_before_answer()).then(reset_before_answer());
    let answer = client.ask(&messages()).await.refused(502, "upstream_failed");
    assert_ne!(answer.header("connection"), Some("close"), "{answer:?}");
    client.ask(&messages()).await.expect(200);
}

#[tokio::test]
async fn no_new_attempt_after_the_deadline() {
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    first.always(silence());
    let yaml = us_with(
        &[claude("a", &first.origin()), claude("b", &second.origin())],
        "    failover: {first_byte_timeout: 2s, deadline: 1s}\n",
    );
    let gateway = Gateway::with(yaml).start().await;
    gateway.ask(&messages()).await.refused(504, "upstream_timeout");
    assert_eq!(second.requests().len(), 0);
}

/// HTTP/2 says which requests it has not touched: those go again to the same account, once.
#[tokio::test]
async fn a_refused_stream_is_tried_anew() {
    let authority = Authority::new();
    let provider = Provider::tls_h2(&authority).await;
    let accounts = [setups::account("a", "claude", "anthropic", &provider.origin(), ", tls: {ca: ca.pem}")];
    let gateway = Gateway::with(us(&accounts)).file("ca.pem", &authority.ca_pem).start().await;
    gateway.ask(&messages()).await.expect(200);
    provider.then(Script::steps([Step::StreamReset(h2::Reason::REFUSED_STREAM)]));
    gateway.ask(&messages_of(100_000, false)).await.expect(200);
    assert_eq!(provider.requests().len(), 3);
    // A connection that was told good-bye while it was idle is no fault either.
    provider.then(answers::messages("pong").then(Step::GoAway(h2::Reason::NO_ERROR)));
    gateway.ask(&messages()).await.expect(200);
    gateway.ask(&messages()).await.expect(200);
}

/// Once the provider has read the whole request, a broken connection must not send it a second time to the same account.
#[tokio::test]
async fn a_broken_h2_connection_is_no_reason_to_ask_twice() {
    let authority = Authority::new();
    let provider = Provider::tls_h2(&authority).await;
    let accounts = [setups::account("a", "claude", "anthropic", &provider.origin(), ", tls: {ca: ca.pem}")];
    for end in [
        Step::StreamReset(h2::Reason::INTERNAL_ERROR),
        Step::GoAway(h2::Reason::PROTOCOL_ERROR),
        Step::StreamReset(h2::Reason::CANCEL),
    ] {
        let gateway = Gateway::with(us(&accounts)).file("ca.pem", &authority.ca_pem).start().await;
        gateway.ask(&messages()).await.expect(200);
        let before = provider.requests().len();
        provider.then(Script::steps([end]));
        let answer = gateway.ask(&messages()).await;
        assert_eq!(provider.requests().len() - before, 1, "{answer:?}");
        assert_eq!(answer.status, 502, "{answer:?}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_passed_over() {
    let provider = Provider::plain().await;
    let yaml = us(&[claude("a", "http://no-such-host.invalid:1234"), claude("b", &provider.origin())]);
    let gateway = Gateway::with(yaml).start().await;
    let answer = gateway.ask(&messages()).await.expect(200);
    assert_eq!(attempts(&gateway.line_of(&answer).await), ["a connect", "b accept"]);
}

#[tokio::test]
async fn compressed_refusals_are_read_all_the_same() {
    use std::io::Write;
    let (first, second) = (Provider::plain().await, Provider::plain().await);
    let body = answers::anthropic_error("invalid_request_error", "Your credit balance is too low to access the Anthropic API.")
        .to_string();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body.as_bytes()).unwrap();
    let gateway = two(&first, &second).await;
    first.then(Script::answer(400, "application/json", encoder.finish().unwrap()).header("content-encoding", "gzip"));
    let answer = gateway.ask(&messages()).await.expect(200);
    assert_eq!(attempts(&gateway.line_of(&answer).await), ["a money", "b accept"]);
}

/// A refusal longer than what is held for judging passes whole.
#[tokio::test]
async fn a_long_refusal_passes_whole() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("a", &provider.origin())])).start().await;
    for size in [60_000, 65_536, 70_000, 300_000] {
        let body = answers::anthropic_error("invalid_request_error", &"x".repeat(size)).to_string();
        provider.then(Script::answer(400, "application/json", body.clone()).in_pieces(10_000));
        let answer = gateway.ask(&messages()).await.expect(400);
        assert!(answer.whole && answer.body == body.as_bytes(), "{} bytes of {}", answer.body.len(), body.len());
    }
}

//! The answer is cut at every byte, the client leaves at every step. After each: one well-formed end, nothing sent twice, nothing
//! in flight, one log line.

use bytes::Bytes;
use serde_json::json;

use crate::harness::log::has;
use crate::harness::requests::{messages, messages_stream};
use crate::harness::setups::{claude, pair_key, pairs, us};
use crate::harness::*;

/// The whole answer as it stands on the wire.
fn on_the_wire(script: &Script) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chunked = false;
    for step in &script.steps {
        match step {
            Step::Head(status, headers, framing) => {
                let mut headers = headers.clone();
                chunked = *framing == Framing::Chunked;
                match framing {
                    Framing::Length(length) => headers.push(("content-length".to_owned(), length.to_string())),
                    _ => headers.push(("transfer-encoding".to_owned(), "chunked".to_owned())),
                }
                bytes.extend(h1::response_head(*status, &headers));
            }
            Step::Body(piece) if chunked => bytes.extend(h1::chunk(piece)),
            Step::Body(piece) => bytes.extend_from_slice(piece),
            Step::End if chunked => bytes.extend_from_slice(b"0\r\n\r\n"),
            _ => {}
        }
    }
    bytes
}

/// How the provider's answer may end after so many bytes.
const ENDS: [fn() -> Step; 2] = [|| Step::Reset, || Step::Close];

async fn sweep(request: Request, script: Script, form: Form) {
    let (bad, good) = (Provider::plain().await, Provider::plain().await);
    let wire = Bytes::from(on_the_wire(&script));
    let whole = script.body();
    // Every byte near the borders of head and events, and each thirteenth elsewhere, unless there is time.
    let slow = std::env::var("AICARPOOL_SLOW").is_ok();
    let cuts: Vec<usize> = (0..wire.len()).filter(|at| slow || at % 13 == 0 || wire[*at] == b'\n').collect();
    let yaml = pairs(cuts.len() * ENDS.len(), |_| bad.origin(), &good.origin());
    let gateway = Gateway::with(yaml).start().await;
    let stream = request.body.ends_with(b"true}");
    for (number, (cut, end)) in cuts.iter().flat_map(|cut| ENDS.iter().map(move |end| (*cut, end()))).enumerate() {
        bad.then(Script::steps([Step::Raw(wire.slice(..cut)), end.clone()]));
        let what = format!("cut after {cut} of {} bytes", wire.len());
        let answer = form.ask(gateway.address, &request.clone().without("x-api-key").key(&pair_key(number))).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        let line = gateway.line_of(&answer).await;
        let tried = good.requests_of(&format!("sk-good{number}")).len();
        let served_by_the_second = line["account"] == format!("good{number}");
        if served_by_the_second {
            assert_eq!((tried, answer.whole, answer.body.to_vec()), (1, true, whole.clone()), "{what}: {answer:?}");
            has(&line, json!({"outcome": "ok", "basis": "reported"}));
        } else if line["outcome"] == "ok" {
            // What is missing are bytes of the framing, after the terminal event.
            assert!(tried == 0 && answer.body == whole, "{what}: {line:#} {answer:?}");
        } else {
            assert_eq!(tried, 0, "{what}: sent twice");
            has(&line, json!({"outcome": "cut"}));
            let text = answer.text();
            let begun = &text[..text.find("event: error\n").unwrap_or(text.len())];
            assert!(whole.starts_with(begun.trim_end().as_bytes()), "{what}: {answer:?}");
            assert!(
                stream != (begun.len() == text.len()),
                "{what}: a stream ends with an error event, a JSON answer looks cut: {answer:?}"
            );
            assert_eq!(answer.whole, stream, "{what}: {answer:?}");
        }
    }
    let metrics = gateway.metric("nothing in flight", |m| m.sum("account_in_flight", &[]) == 0.0).await;
    assert_eq!(metrics.sum("requests_total", &[]) as usize, cuts.len() * ENDS.len());
    assert_eq!(gateway.log_now().len(), cuts.len() * ENDS.len());
    assert!(!gateway.said().contains("panicked"), "{}", gateway.said());
}

#[tokio::test]
async fn a_stream_cut_at_every_byte() {
    sweep(messages_stream(), answers::messages_stream(&["po", "ng"]), Form::H1Length).await;
}

#[tokio::test]
async fn a_stream_cut_at_every_byte_before_an_h2_client() {
    sweep(messages_stream(), answers::messages_stream(&["po", "ng"]), Form::H2Length).await;
}

#[tokio::test]
async fn a_json_answer_cut_at_every_byte() {
    sweep(messages(), answers::messages("pong"), Form::H1Length).await;
}

#[tokio::test]
async fn a_client_that_leaves_at_every_step() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("a", &provider.origin())]) + "metering: {on_disconnect: estimate}\n").start().await;
    let request = messages_stream();
    let head = request.head("gateway");
    let mut whole = head.clone();
    whole.extend_from_slice(&request.body);
    let mut asked = 0;
    // In the middle of its request.
    for at in (0..whole.len()).step_by(7) {
        let mut client = gateway.connect().await;
        client.send_bytes(&whole[..at]).await;
        if at % 2 == 0 {
            client.reset()
        } else {
            drop(client)
        }
        // One whose head had arrived is a request.
        asked += usize::from(at >= head.len());
    }
    // In the middle of the answer.
    let events = answers::messages_events(&["po", "ng"]);
    for seen in 0..events.len() {
        for reset in [true, false] {
            let gate = Gate::new();
            let mut script = Script::open_stream(events[..=seen].to_vec()).then(Step::Gate(gate.clone()));
            script.steps.extend(events[seen + 1..].iter().map(|e| Step::Body(e.clone().into())));
            provider.then(script.then(Step::End));
            let mut client = gateway.connect().await;
            client.send(&request).await;
            gate.reached().await;
            if reset {
                client.reset()
            } else {
                drop(client)
            }
            gate.open();
            asked += 1;
        }
    }
    let lines = gateway.log(asked).await;
    gateway.metric("nothing in flight", |m| m.sum("account_in_flight", &[]) == 0.0).await;
    for line in &lines {
        assert!(["aborted", "ok"].contains(&line["outcome"].as_str().unwrap()), "{line:#}");
    }
    let answer = gateway.ask(&request).await.expect(200);
    gateway.line_of(&answer).await;
    let lines = gateway.log_now();
    assert_eq!(lines.len(), asked + 1, "one line a request: {lines:#?}");
    for received in provider.requests() {
        assert_eq!(received.body, request.body, "a provider never gets half a request");
    }
    let metrics = gateway.metrics().await;
    assert_eq!(
        (metrics.sum("account_parked", &[]), metrics.sum("requests_total", &[]) as usize),
        (0.0, asked + 1),
        "{metrics:?}"
    );
    assert!(!gateway.said().contains("panicked"), "{}", gateway.said());
}

//! What passes through unaltered, what is taken out, and how either side may speak.

use std::io::Write;

use bytes::Bytes;
use serde_json::json;

use crate::harness::log::has;
use crate::harness::requests::{anthropic, chat, messages, messages_of, messages_stream, responses};
use crate::harness::script::pairs;
use crate::harness::setups::{account, claude, openai, us};
use crate::harness::wire::Wire;
use crate::harness::*;

#[tokio::test]
async fn bytes_are_not_touched() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("c", &provider.origin()), openai("o", &provider.origin())])).start().await;
    let bodies = [
        "{\r\n  \"model\" : \"claude-sonnet-4-5\" ,\t\"max_tokens\":1,\"messages\":[ ],\"x\":1e400,\"y\":12345678901234567890123,\"z\":\"\\ud83d\\ude00 é \\/ \"}\n",
        "  {\"metadata\":{\"user_id\":\"u\"},\"messages\":[{\"role\":\"user\",\"content\":\"\\\\\\\"\"}],\"model\":\"claude-sonnet-4-5\",\"model2\":0,\"max_tokens\":5,\"stream\":false}",
        "{\"model\":\"claude-sonnet-4-5\",\"messages\":[],\"max_tokens\":1,\"a\":{\"a\":{\"a\":[[[[{}]]]]}},\"unknown\":null,\"unknown\":false}",
    ];
    for body in bodies {
        for form in Form::ALL {
            form.ask(gateway.address, &anthropic(body)).await.expect(200);
            assert_eq!(provider.last().body, body.as_bytes());
        }
    }
    // The one edit of a chat stream stands in place; all else is as it was.
    let body = "{ \"stream\" :true, \"messages\":[] ,\"model\":\"gpt-4o\",\"seed\":1.0 }";
    gateway.ask(&requests::openai("/v1/chat/completions", body)).await.expect(200);
    let sent = String::from_utf8(provider.last().body.to_vec()).unwrap();
    let kept: String = ["{ \"stream\" :true, \"messages\":[] ,\"model\":\"gpt-4o\",\"seed\":1.0", " }"].concat();
    assert_eq!(provider.last().json()["stream_options"], json!({"include_usage": true}));
    assert!(sent.starts_with("{") && sent.contains("\"seed\":1.0") && sent.len() > kept.len(), "{sent}");
    assert!(sent.contains(" \"stream\" :true, \"messages\":[] ,\"model\":\"gpt-4o\",\"seed\":1.0"), "{sent}");
}

#[tokio::test]
async fn headers_that_go_no_further() {
    let provider = Provider::plain().await;
    let accounts = [account("c", "claude", "anthropic", &provider.origin(), ", headers: {x-team: acme, anthropic-beta: ours}")];
    let gateway = Gateway::with(us(&accounts)).start().await;
    let out = [
        "cookie",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
        "via",
        "proxy-authorization",
        "proxy-connection",
        "x-http-method-override",
        "openai-organization",
        "openai-project",
        "x-goog-user-project",
        "chatgpt-account-id",
        "x-aicarpool-tag",
        "authorization",
        "te",
        "keep-alive",
        "x-hop",
        "x-goog-api-key",
        "api-key",
    ];
    let mut request =
        messages().header("connection", "keep-alive, x-hop").header("x-team", "theirs").header("anthropic-beta", "theirs");
    for name in out {
        request = request.header(name, "a=foreign");
    }
    let kept = [
        ("anthropic-version", "2023-06-01"),
        ("x-stainless-lang", "js"),
        ("user-agent", "claude-cli/2"),
        ("x-unknown", "1"),
        ("X-Claude-Code-Session-Id", "s"),
        ("accept", "*/*"),
    ];
    for (name, value) in &kept[1..] {
        request = request.header(name, value);
    }
    let request = request.header("accept-encoding", "gzip, br");
    for form in [Form::H1Length, Form::H2Length] {
        let request = if form == Form::H2Length {
            request.clone().without("connection").without("te").without("keep-alive").without("proxy-connection").without("x-hop")
        } else {
            request.clone()
        };
        form.ask(gateway.address, &request).await.expect(200);
        let received = provider.last();
        for name in out {
            assert_eq!(received.header(name), None, "{name} reached the provider by {form:?}");
        }
        assert!(!format!("{:?}", received.headers).contains("foreign"), "{received:?}");
        for (name, value) in kept {
            assert_eq!(received.header(name), Some(value), "{name} by {form:?}");
        }
        let one = |name: &str| {
            received.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            (one("x-team"), one("anthropic-beta"), one("x-api-key")),
            (vec!["acme".into()], vec!["ours".into()], vec!["sk-c".into()])
        );
        assert_eq!((one("accept-encoding"), one("host")), (vec!["identity".into()], vec![provider.address.to_string()]));
        assert_eq!((one("content-length"), one("transfer-encoding").len()), (vec![request.body.len().to_string()], 0));
    }
}

#[tokio::test]
async fn headers_that_do_not_come_back() {
    let authority = Authority::new();
    for provider in [Provider::plain().await, Provider::tls_h2(&authority).await] {
        let accounts = [
            account("c", "claude", "anthropic", &provider.origin(), ", tls: {ca: ca.pem}"),
            account("o", "openai", "openai", &format!("{}/v1", provider.origin()), ", tls: {ca: ca.pem}"),
        ];
        let gateway = Gateway::with(us(&accounts)).file("ca.pem", &authority.ca_pem).start().await;
        let out = [
            "set-cookie",
            "openai-organization",
            "openai-project",
            "anthropic-organization-id",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-unified-status",
            "x-ratelimit-limit-requests",
            "x-ratelimit-remaining-tokens",
            "x-codex-primary-used-percent",
            "location",
            "alt-svc",
            "refresh",
            "link",
            "clear-site-data",
            "strict-transport-security",
            "www-authenticate",
            "x-aicarpool-model",
        ];
        for (script, request) in [
            (answers::messages("pong"), messages()),
            (answers::refusal("/v1/messages", 400), messages()),
            (answers::messages_stream(&["po", "ng"]), messages_stream()),
            (answers::chat("pong"), chat()),
        ] {
            let mut script = script
                .header("x-request-id", "req_theirs")
                .header("request-id", "req_theirs")
                .header("x-odd", "kept")
                .header("openai-processing-ms", "7")
                .header("set-cookie", "b=2");
            for name in out {
                script = script.header(name, "theirs");
            }
            let body = script.body();
            provider.then(script);
            let answer = gateway.ask(&request).await;
            for name in out {
                assert_eq!(answer.header(name), None, "{name} reached the client: {answer:?}");
            }
            assert_eq!(
                (answer.header("x-odd"), answer.header("openai-processing-ms"), answer.body.to_vec()),
                (Some("kept"), Some("7"), body)
            );
            let ids: Vec<_> = answer.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case("x-request-id")).collect();
            assert_eq!(ids.len(), 1, "{answer:?}");
            assert_ne!(answer.id(), "req_theirs");
            assert_eq!(answer.header("x-upstream-request-id"), Some("req_theirs"));
            has(&gateway.line_of(&answer).await, json!({"upstream_id": "req_theirs"}));
        }
    }
}

#[tokio::test]
async fn the_clients_own_request_id_is_logged() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("c", &provider.origin())])).start().await;
    let answer = gateway.ask(&messages().header("x-request-id", "client-7")).await.expect(200);
    assert_ne!(answer.id(), "client-7");
    has(&gateway.line_of(&answer).await, json!({"client_id": "client-7"}));
    let odd = "x".repeat(5000);
    let answer = gateway.ask(&messages().header("x-request-id", &odd)).await.expect(200);
    has(&gateway.line_of(&answer).await, json!({"client_id": null}));
}

#[tokio::test]
async fn expect_continue_is_answered_here() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("c", &provider.origin())])).start().await;
    let request = messages_of(1 << 20, false).header("expect", "100-continue");
    let mut client = gateway.connect().await;
    client.send_head(&request).await;
    assert_eq!(client.any_head().await.unwrap().0, 100);
    client.send_bytes(&request.body).await;
    client.head().await.expect(200);
    assert!(client.rest().await.1);
    assert_eq!((provider.last().body, provider.requests()[0].header("expect")), (request.body, None));
    // It still serves on the same connection, and a refusal needs no body.
    client.ask(&messages()).await.expect(200);
    let refused = messages().without("x-api-key").header("expect", "100-continue");
    let mut client = gateway.connect().await;
    client.send_head(&refused).await;
    let status = client.any_head().await.unwrap().0;
    assert!([100, 401].contains(&status), "{status}");
}

#[tokio::test]
async fn connections_are_kept_alive_on_both_sides() {
    let authority = Authority::new();
    for provider in [Provider::plain().await, Provider::tls_h1(&authority).await, Provider::tls_h2(&authority).await] {
        let accounts = [account("c", "claude", "anthropic", &provider.origin(), ", tls: {ca: ca.pem}")];
        let gateway = Gateway::with(us(&accounts)).file("ca.pem", &authority.ca_pem).start().await;
        let mut client = gateway.connect().await;
        for request in
            [messages(), messages_stream(), messages_of(100_000, false), messages_of(100_000, true).chunked(1000), messages()]
        {
            client.ask(&request).await.expect(200);
        }
        let client = H2Client::connect(gateway.address).await;
        for request in [messages(), messages_stream(), messages_of(100_000, false)] {
            client.ask(&request).await.expect(200);
        }
        // Two workers may each have opened one before the other's was free.
        assert!(provider.connections() <= 2, "{} connections for 8 requests, one at a time", provider.connections());
    }
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("c", &provider.origin())])).start().await;
    provider.answers(|request| answers::messages(request.header("x-name").unwrap()));
    let mut client = gateway.connect().await;
    for name in ["one", "two", "three"] {
        client.send(&messages().header("x-name", name)).await;
    }
    for name in ["one", "two", "three"] {
        client.head().await.expect(200);
        assert!(client.rest().await.0.contains(name));
    }
}

fn multipart(boundary: &str, file: &[u8]) -> Vec<u8> {
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".wav\"\r\nContent-Type: audio/wav\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(file);
    body.extend_from_slice(
        format!("\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--{boundary}--\r\n")
            .as_bytes(),
    );
    body
}

#[tokio::test]
async fn multipart_bodies_pass_as_they_are() {
    let provider = Provider::plain().await;
    let yaml = us(&[openai("o", &provider.origin())]);
    let gateway = Gateway::with(&*yaml).start().await;
    provider.answers(|_| Script::json(200, json!({"text": "pong", "usage": {"type": "duration", "seconds": 3}})));
    // A file that looks like a boundary, almost.
    let mut file: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[(n % 3) as usize]).collect();
    file.extend_from_slice(b"\r\n--bound\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-5");
    let mut request = Request::post("/v1/audio/transcriptions", multipart("boundary7", &file)).key(KEY).without("content-type");
    request = request.header("content-type", "multipart/form-data; boundary=boundary7");
    for form in Form::ALL {
        let answer = form.ask(gateway.address, &request).await.expect(200);
        assert!(provider.last().body == request.body, "{form:?}: the form was altered");
        assert_eq!(provider.last().header("content-type"), Some("multipart/form-data; boundary=boundary7"));
        has(&gateway.line_of(&answer).await, json!({"model": "whisper-1", "operation": "audio"}));
    }
    let gateway = Gateway::with(yaml.replace("name: laptop}", "name: laptop, models: [gpt-4o]}")).start().await;
    gateway.ask(&request).await.refused(403, "model_not_allowed");
}

#[tokio::test]
async fn compressed_requests_are_decoded() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[openai("o", &provider.origin())]) + "max_body: 1MB\n").start().await;
    let plain = Bytes::from(json!({"model": "gpt-5", "input": "ping ".repeat(20_000)}).to_string());
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zlib = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let brotli = {
        let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 20);
        encoder.write_all(&plain).unwrap();
        encoder.into_inner()
    };
    let forms = [("gzip", gzip(&plain)), ("zstd", zstd::encode_all(&plain[..], 3).unwrap()), ("br", brotli), ("deflate", zlib)];
    for (encoding, bytes) in &forms {
        let request = Request { body: bytes.clone().into(), ..responses() }.header("content-encoding", encoding);
        for form in [Form::H1Length, Form::H1Chunked, Form::H2Length] {
            let answer = form.ask(gateway.address, &request).await;
            assert_eq!(answer.status, 200, "{encoding}: {answer:?}");
            let received = provider.last();
            assert!(received.body == plain, "{encoding}: {} bytes instead of {}", received.body.len(), plain.len());
            assert_eq!(received.header("content-encoding"), None);
            has(&gateway.line_of(&answer).await, json!({"request_bytes": bytes.len(), "model": "gpt-5"}));
        }
        let mut corrupt = bytes.clone();
        let middle = corrupt.len() / 2;
        corrupt.truncate(middle);
        let request = Request { body: corrupt.into(), ..responses() }.header("content-encoding", encoding);
        gateway.ask(&request).await.refused(400, "bad_request");
    }
    let bomb = vec![b' '; 50 << 20];
    for (encoding, bytes) in [("gzip", gzip(&bomb)), ("zstd", zstd::encode_all(&bomb[..], 3).unwrap())] {
        let request = Request { body: bytes.into(), ..responses() }.header("content-encoding", encoding);
        gateway.ask(&request).await.refused(413, "body_too_large");
    }
    let request = Request { body: plain, ..responses() }.header("content-encoding", "identity");
    gateway.ask(&request).await.expect(200);
}

#[tokio::test]
async fn clients_may_speak_tls() {
    let authority = Authority::new();
    let identity = authority.identity(&["localhost", "127.0.0.1"]);
    let provider = Provider::plain().await;
    let yaml =
        us(&[claude("c", &provider.origin())]) + "listen: [{address: \"@listen@\", tls: {cert: cert.pem, key: key.pem}}]\n";
    let setup = Gateway::with(yaml).file("cert.pem", &identity.cert_pem).file("key.pem", &identity.key_pem);
    let gateway = setup.start().await;
    let over = async |alpn: &[&str]| -> Wire { authority.connect(gateway.address, "localhost", alpn).await.unwrap() };
    let wire = over(&["h2", "http/1.1"]).await;
    assert_eq!(wire.alpn(), "h2");
    let h2 = H2Client::over(wire, gateway.address).await;
    h2.ask(&messages_of(200_000, false)).await.expect(200);
    assert_eq!(h2.ask(&messages_stream()).await.expect(200).text(), answers::messages_events(&["po", "ng"]).concat());
    for alpn in [&["http/1.1"][..], &[]] {
        let mut h1 = Client::over(over(alpn).await, gateway.address);
        h1.ask(&messages()).await.expect(200);
        h1.ask(&messages_stream()).await.expect(200);
    }
}

#[tokio::test]
async fn the_certificate_decides_whom_we_talk_to() {
    let authority = Authority::new();
    let stranger = Authority::new();
    for h2 in [false, true] {
        let provider = if h2 { Provider::tls_h2(&authority).await } else { Provider::tls_h1(&authority).await };
        let ask = async |base: String, tls: &str| -> Answer {
            let accounts = [account("c", "claude", "anthropic", &base, tls)];
            let gateway = Gateway::with(us(&accounts))
                .file("ca.pem", &authority.ca_pem)
                .file("stranger.pem", &stranger.ca_pem)
                .start()
                .await;
            gateway.ask(&messages()).await
        };
        let mine = ", tls: {ca: ca.pem}";
        ask(provider.origin(), mine).await.expect(200);
        ask(provider.origin_as("localhost"), mine).await.expect(200);
        assert_eq!(provider.last().sni.as_deref(), Some("localhost"));
        ask(provider.origin(), ", tls: {ca: ca.pem, sni: provider.test}").await.expect(200);
        assert_eq!(provider.last().sni.as_deref(), Some("provider.test"));
        let asked = provider.requests().len();
        ask(provider.origin(), "").await.refused(502, "upstream_failed");
        ask(provider.origin(), ", tls: {ca: stranger.pem}").await.refused(502, "upstream_failed");
        ask(provider.origin(), ", tls: {ca: ca.pem, sni: other.test}").await.refused(502, "upstream_failed");
        assert_eq!(provider.requests().len(), asked);
        ask(provider.origin(), ", tls: {verify: false}").await.expect(200);
    }
}

#[tokio::test]
async fn an_egress_proxy_is_used() {
    let authority = Authority::new();
    for h2 in [false, true] {
        let provider = if h2 { Provider::tls_h2(&authority).await } else { Provider::tls_h1(&authority).await };
        let proxy = proxy::Proxy::to(Some(provider.address)).await;
        // Nothing but the proxy knows this name.
        let more = format!(", tls: {{ca: ca.pem}}, proxy: \"http://{}\"", proxy.address);
        let accounts = [account("c", "claude", "anthropic", "https://provider.test", &more)];
        let gateway = Gateway::with(us(&accounts)).file("ca.pem", &authority.ca_pem).start().await;
        for size in [1024, 1 << 20] {
            let request = messages_of(size, false);
            gateway.ask(&request).await.expect(200);
            assert!(provider.last().body == request.body);
        }
        let heads = proxy.heads();
        assert!(heads[0].starts_with("CONNECT provider.test:443 HTTP/1.1\r\n"), "{heads:?}");
        assert!(!heads.concat().contains("sk-c") && !heads.concat().contains("aicp_"), "{heads:?}");
        assert_eq!(provider.last().sni.as_deref(), Some("provider.test"));
        let refusing = proxy::Proxy::to(None).await;
        let more = format!(", tls: {{ca: ca.pem}}, proxy: \"http://{}\"", refusing.address);
        let accounts = [account("c", "claude", "anthropic", "https://provider.test", &more)];
        let gateway = Gateway::with(us(&accounts)).file("ca.pem", &authority.ca_pem).start().await;
        gateway.ask(&messages()).await.refused(502, "upstream_failed");
    }
}

#[tokio::test]
async fn odd_but_proper_answers_pass() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("c", &provider.origin())])).start().await;
    let body = answers::messages("pong").body();
    let json = &[("content-type", "application/json")];
    let odd = [
        // Ended by the connection's end.
        Script::steps([Step::Head(200, pairs(json), Framing::Close), Step::Body(body.clone().into()), Step::End]),
        // An interim answer first.
        Script::steps([
            Step::Interim(103, pairs(&[("link", "</x>; rel=preload")])),
            Step::Head(200, pairs(json), Framing::Length(body.len())),
            Step::Body(body.clone().into()),
            Step::End,
        ]),
        // A chunk a byte, with an extension on one of them, and a trailer.
        Script::steps([
            Step::Head(200, pairs(json), Framing::Chunked),
            Step::Body(body[..10].to_vec().into()),
            Step::Raw(
                format!("{:x};ext=1\r\n{}\r\n0\r\nx-trailer: 1\r\n\r\n", body.len() - 10, String::from_utf8_lossy(&body[10..]))
                    .into(),
            ),
            Step::ReadBody,
        ]),
        Script::answer(200, "application/json", body.clone()).in_pieces(1),
    ];
    for (number, script) in odd.into_iter().enumerate() {
        provider.then(script);
        let answer = gateway.ask(&messages()).await.expect(200);
        assert_eq!((number, answer.body.to_vec(), answer.whole), (number, body.clone(), true));
        has(&gateway.line_of(&answer).await, json!({"basis": "reported"}));
    }
}

/// An answer that says its length and then breaks off must not look whole to the client.
#[tokio::test]
async fn a_cut_json_answer_looks_cut() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("c", &provider.origin())])).start().await;
    let long = "x".repeat(20_000);
    for end in [Step::Reset, Step::Close] {
        provider.then(answers::messages(&long).cut(10_000, end));
        let answer = gateway.ask(&messages()).await.expect(200);
        assert!(!answer.whole, "{answer:?}");
        has(&gateway.line_of(&answer).await, json!({"outcome": "cut"}));
    }
}

#[tokio::test]
async fn a_request_that_could_be_read_in_two_ways_is_refused() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("c", &provider.origin())])).start().await;
    let body = String::from_utf8(messages().body.to_vec()).unwrap();
    let head = format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n");
    let smuggled = format!("GET /v1/models HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n\r\n");
    let cases = [
        format!("{head}content-length: {}\r\ncontent-length: 3\r\n\r\n{body}{smuggled}", body.len()),
        format!("{head}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        format!("{head}transfer-encoding: gzip, chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        format!("{head}transfer-encoding: xchunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
    ];
    for case in cases {
        let before = provider.requests().len();
        let mut client = gateway.connect().await;
        client.try_send(case.as_bytes()).await;
        client.half_close().await;
        // Whatever it answers: at most this one request came through, and whole.
        while let Some((status, _)) = client.any_head().await {
            if status == 200 {
                break;
            }
        }
        let mine = &provider.requests()[before..];
        assert!(mine.len() <= 1 && mine.iter().all(|r| r.body == body.as_bytes()), "{case:?}: {mine:?}");
    }
}

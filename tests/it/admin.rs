//! The second port: what it tells, and to whom.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::requests::messages;
use crate::harness::setups::{claude, us};
use crate::harness::*;

#[tokio::test]
async fn only_to_those_it_is_for() {
    let provider = Provider::plain().await;
    let yaml = us(&[claude("a", &provider.origin())]);
    let gateway = Gateway::with(&*yaml).start().await;
    gateway.admin("/nothing").await.expect(404);
    gateway.admin("/metrics").await.expect(200);
    let post = Request { method: "POST".to_owned(), ..Request::get("/metrics") };
    assert_ne!(Client::connect(gateway.admin).await.ask(&post).await.status, 200);
    // Reached by nobody, it is no admin port: the data port answers alone.
    let gateway = Gateway::with(yaml + "admin: \"off\"\n").start_without_admin().await;
    gateway.ask(&Request::get("/readyz")).await.expect(200);
    gateway.ask(&messages()).await.expect(200);
    assert!(wire::Wire::connect(gateway.admin).await.is_err());
}

#[tokio::test]
async fn nothing_of_it_is_on_the_data_port() {
    let provider = Provider::plain().await;
    let gateway = Gateway::with(us(&[claude("a", &provider.origin())])).start().await;
    for path in ["/metrics", "/admin", "/api/accounts", "/accounts"] {
        let answer = gateway.ask(&Request::get(path).key(KEY)).await;
        assert!(answer.status >= 400 && !answer.text().contains("aicarpool_"), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn metrics_may_have_an_address_of_their_own() {
    let provider = Provider::plain().await;
    let port = port::Port::free();
    let yaml = us(&[claude("a", &provider.origin())]) + &format!("metrics: {{listen: {}}}\n", port.address());
    let gateway = Gateway::with(yaml).start().await;
    gateway.ask(&messages()).await.expect(200);
    // A request is counted after its last byte went out, so the first look may come too early.
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let text = Client::connect(port.address()).await.ask(&Request::get("/metrics")).await.expect(200).text();
        let requests = Metrics::parse(&text).sum("requests_total", &[]);
        if requests >= 1.0 || Instant::now() > until {
            assert_eq!(requests, 1.0);
            break;
        }
    }
    assert_ne!(Client::connect(port.address()).await.ask(&Request::get("/accounts")).await.status, 200);
}

#[tokio::test]
async fn certificates_are_read_anew() {
    let (one, two) = (Authority::new(), Authority::new());
    let provider = Provider::plain().await;
    let first = one.identity(&["localhost"]);
    let yaml =
        us(&[claude("c", &provider.origin())]) + "listen: [{address: \"@listen@\", tls: {cert: cert.pem, key: key.pem}}]\n";
    let gateway = Gateway::with(yaml).file("cert.pem", &first.cert_pem).file("key.pem", &first.key_pem).start().await;
    let mut old = Client::over(one.connect(gateway.address, "localhost", &[]).await.unwrap(), gateway.address);
    old.ask(&messages()).await.expect(200);
    let second = two.identity(&["localhost"]);
    gateway.replace("cert.pem", &second.cert_pem);
    gateway.replace("key.pem", &second.key_pem);
    until("the new certificate", async || {
        two.connect(gateway.address, "localhost", &[]).await.map(drop).map_err(|e| e.to_string())
    })
    .await;
    old.ask(&messages()).await.expect(200);
    // A pair that does not fit leaves the one before in force.
    gateway.replace("key.pem", &first.key_pem);
    gateway.says("key.pem").await;
    two.connect(gateway.address, "localhost", &[]).await.unwrap();
}

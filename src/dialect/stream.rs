//! What the gateway itself writes into a stream: the error event when the upstream dies in the middle, and heartbeats.

use bytes::Bytes;
use serde_json::json;

use super::refusal::row;
use crate::words::{Code, Dialect, Operation};

/// The event that ends a stream whose upstream died after the first byte had gone to the client, so that no client takes a
/// part for the whole. It begins with a blank line, which ends an event that was cut off.
///
/// `array`: the stream is a JSON array of Gemini's, and stands between two elements; the error becomes its last.
pub fn error_event(dialect: Dialect, operation: Operation, code: Code, message: &str, array: bool) -> Bytes {
    let row = row(code);
    let text = match (dialect, operation) {
        (Dialect::Anthropic, _) => {
            let data = json!({"type": "error", "error": {"type": row.anthropic, "message": message}});
            format!("\n\nevent: error\ndata: {data}\n\n")
        }
        (Dialect::Openai, Operation::Responses) => {
            // `server_error` is what Codex tries again; the fields besides are what the SDKs' types want.
            let data = json!({
                "type": "response.failed",
                "sequence_number": 0,
                "response": {
                    "id": "", "object": "response", "created_at": 0, "model": "", "status": "failed",
                    "error": {"code": "server_error", "message": message},
                    "incomplete_details": null, "output": [], "usage": null,
                },
            });
            format!("\n\nevent: response.failed\ndata: {data}\n\n")
        }
        (Dialect::Openai, _) => {
            let (kind, code) = row.openai;
            format!("\n\ndata: {}\n\n", json!({"error": {"message": message, "type": kind, "param": null, "code": code}}))
        }
        (Dialect::Gemini, _) => {
            let data = json!({"error": {"code": row.status, "message": message, "status": row.gemini}});
            if array { format!(",\r\n{data}]") } else { format!("\n\ndata: {data}\n\n") }
        }
    };
    Bytes::from(text)
}

/// What keeps a silent stream alive, in the form that the dialect's clients neither choke on nor overlook (`clients.md` 1.11).
/// `started`: the first meaningful event has passed. `None`: nothing is safe just now.
pub fn heartbeat(dialect: Dialect, operation: Operation, started: bool) -> Option<&'static [u8]> {
    match (dialect, operation) {
        (Dialect::Anthropic, _) => Some(b"event: ping\ndata: {\"type\": \"ping\"}\n\n"),
        // Qwen Code counts events only, not comments.
        (Dialect::Openai, Operation::Chat) => {
            Some(b"data: {\"id\":\"\",\"object\":\"chat.completion.chunk\",\"created\":0,\"model\":\"\",\"choices\":[]}\n\n")
        }
        // The SDK's helper fails if it comes before `response.created`.
        (Dialect::Openai, Operation::Responses) if !started => None,
        (Dialect::Openai, Operation::Responses) => Some(b"event: keepalive\ndata: {\"type\":\"keepalive\"}\n\n"),
        (Dialect::Openai, _) => Some(b": keep-alive\n\n"),
        // Its clients fail on a comment.
        (Dialect::Gemini, _) => Some(b"\n"),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn told(dialect: Dialect, operation: Operation, array: bool) -> String {
        let event = error_event(dialect, operation, Code::UpstreamFailed, "the provider's \"stream\" broke off", array);
        String::from_utf8_lossy(&event).into_owned()
    }

    #[test]
    fn error_events() {
        expect![[r#"


            event: error
            data: {"error":{"message":"the provider's \"stream\" broke off","type":"api_error"},"type":"error"}

        "#]]
        .assert_eq(&told(Dialect::Anthropic, Operation::Messages, false));
        expect![[r#"


            data: {"error":{"code":"upstream_failed","message":"the provider's \"stream\" broke off","param":null,"type":"server_error"}}

        "#]].assert_eq(&told(Dialect::Openai, Operation::Chat, false));
        expect![[r#"


            event: response.failed
            data: {"response":{"created_at":0,"error":{"code":"server_error","message":"the provider's \"stream\" broke off"},"id":"","incomplete_details":null,"model":"","object":"response","output":[],"status":"failed","usage":null},"sequence_number":0,"type":"response.failed"}

        "#]].assert_eq(&told(Dialect::Openai, Operation::Responses, false));
        expect![[r#"


            data: {"error":{"code":502,"message":"the provider's \"stream\" broke off","status":"UNAVAILABLE"}}

        "#]]
        .assert_eq(&told(Dialect::Gemini, Operation::Generate, false));
        let array = format!("[{{}}\r\n{}", told(Dialect::Gemini, Operation::Generate, true));
        assert!(serde_json::from_str::<Vec<serde_json::Value>>(&array).is_ok());
    }

    #[test]
    fn heartbeats() {
        assert!(heartbeat(Dialect::Openai, Operation::Responses, false).is_none());
        for (dialect, operation) in [
            (Dialect::Anthropic, Operation::Messages),
            (Dialect::Openai, Operation::Chat),
            (Dialect::Openai, Operation::Responses),
            (Dialect::Gemini, Operation::Generate),
        ] {
            assert!(heartbeat(dialect, operation, true).is_some_and(|bytes| bytes.ends_with(b"\n")));
        }
    }
}

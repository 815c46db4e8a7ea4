//! Looking at log lines.

use serde_json::Value;

/// That `line` has each member of `expected` with this very value; `null` there means that the member is absent.
#[track_caller]
pub fn has(line: &Value, expected: Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(line.get(name).unwrap_or(&Value::Null), value, "field {name:?} of {line:#}");
    }
}

/// The attempts as `account verdict`, in their order.
pub fn attempts(line: &Value) -> Vec<String> {
    let attempts = line["attempts"].as_array().cloned().unwrap_or_default();
    attempts
        .iter()
        .map(|a| format!("{} {}", a["account"].as_str().unwrap_or("?"), a["verdict"].as_str().unwrap_or("?")))
        .collect()
}

//! `aicarpool key new` and `aicarpool key hash`: the texts to print.

use crate::key;
use crate::words::Id;

/// A new key: the key once, the YAML to paste, and the lines to paste for each client. `gateway` is the address that members reach.
pub fn new(group: &str, user: &str, gateway: &str) -> Result<String, String> {
    for (what, id) in [("group", group), ("user", user)] {
        if !Id::is_valid(id) {
            return Err(format!("--{what} {id}: an id has 1 to 63 lower-case letters, digits and hyphens, such as front-end"));
        }
    }
    let gateway = checked(gateway)?;
    let key = key::new_key(&Id::from(group), &Id::from(user));
    let yaml = format!("keys:\n  - {{hash: \"{}\", group: {group}, user: {user}}}\n", key::hash_text(key.expose()));
    let lines: String = CLIENTS.iter().map(|(client, lines)| format!("# {client}\n{lines}\n")).collect();
    let text = format!(
        "The key, shown only now:\n\n{key}\n\nFor the configuration, which keeps its hash only:\n\n{yaml}\nFor the clients, to paste:\n\n{lines}",
        key = key.expose(),
    );
    Ok(text.replace("$KEY", key.expose()).replace("$GW", gateway))
}

/// The hash of a key, as `hash:` takes it.
pub fn hash(key: &str) -> Result<String, String> {
    let key = key.trim();
    if key::Parts::of(key).is_none() {
        return Err(format!(
            "that is no whole key: it starts with {}, then a group's id, _, a user's id, _, and 16 to 64 letters or digits",
            key::PREFIX
        ));
    }
    Ok(format!("{}\n", key::hash_text(key)))
}

/// The gateway's address without a trailing slash.
fn checked(gateway: &str) -> Result<&str, String> {
    let bare = gateway.trim_end_matches('/');
    let uri: Result<http::Uri, _> = bare.parse();
    let plain =
        |uri: http::Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none();
    match uri.is_ok_and(plain) && !bare.contains(['\'', '"', '$', '`', '\\', ' ']) {
        true => Ok(bare),
        false => Err(format!("--gateway {gateway}: an address such as https://ai.example.com is expected")),
    }
}

/// What each client wants, as tried in `clients.md` section 5.
const CLIENTS: [(&str, &str); 15] = [
    (
        "Claude Code (shell; leave ANTHROPIC_API_KEY unset)",
        "\
unset ANTHROPIC_API_KEY
export ANTHROPIC_BASE_URL=$GW/api/v1
export ANTHROPIC_AUTH_TOKEN=$KEY
export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1
# optional, lists the gateway's models:
# export CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY=1
",
    ),
    (
        "Codex (~/.codex/config.toml; the table stands after all top-level keys)",
        "\
model_provider = \"aicp\"

[model_providers.aicp]
name = \"AiCarpool\"
base_url = \"$GW/api/v1\"
env_key = \"AICP_KEY\"
# and in the shell:
export AICP_KEY=$KEY
",
    ),
    (
        "Gemini CLI (shell, and ~/.gemini/settings.json)",
        "\
export GOOGLE_GEMINI_BASE_URL=$GW/api/ai-proxy
export GEMINI_API_KEY=$KEY
# ~/.gemini/settings.json
{\"security\":{\"auth\":{\"selectedType\":\"gemini-api-key\"}}}
",
    ),
    (
        "Qwen Code (shell; the last line keeps a session on one account)",
        "\
export OPENAI_BASE_URL=$GW/api/v1
export OPENAI_API_KEY=$KEY
export OPENAI_MODEL=qwen3-coder-plus
export DASHSCOPE_PROXY_BASE_URL=$GW/api/v1
",
    ),
    (
        "opencode (opencode.json; set small_model to a model of yours too)",
        "\
{\"provider\":{\"aicp\":{\"npm\":\"@ai-sdk/openai-compatible\",\"name\":\"AiCarpool\",\"options\":{\"baseURL\":\"$GW/api/v1\",\"apiKey\":\"$KEY\"},\"models\":{\"gpt-5\":{}}},\"anthropic\":{\"options\":{\"baseURL\":\"$GW/api/v1\",\"apiKey\":\"$KEY\"}}}}
",
    ),
    (
        "Copilot CLI (shell; COPILOT_PROVIDER_TYPE=anthropic for Claude models)",
        "\
export COPILOT_PROVIDER_BASE_URL=$GW/api/v1
export COPILOT_PROVIDER_API_KEY=$KEY
export COPILOT_MODEL=gpt-5
",
    ),
    (
        "Kimi Code (~/.kimi-code/config.toml)",
        "\
default_model = \"m\"

[models.m]
provider = \"p\"
model = \"kimi-k2\"
max_context_size = 200000

[providers.p]
type = \"kimi\"
base_url = \"$GW/api/v1\"
api_key = \"$KEY\"
",
    ),
    (
        "aider (shell)",
        "\
export OPENAI_API_BASE=$GW/api/v1
export OPENAI_API_KEY=$KEY
aider --model openai/gpt-4o
# or
export ANTHROPIC_API_BASE=$GW
export ANTHROPIC_API_KEY=$KEY
aider --model anthropic/claude-sonnet-4-5
",
    ),
    (
        "Continue (config.yaml)",
        "\
schema: v1
models:
  - {name: m, provider: openai, model: gpt-4o, apiBase: \"$GW/api/v1\", apiKey: $KEY}
",
    ),
    (
        "Cursor (Settings, Models, \"Override OpenAI Base URL\"; Cursor's servers call it, so it must be public https)",
        "\
$GW/api/v1
$KEY
",
    ),
    (
        "OpenAI SDKs (shell)",
        "\
export OPENAI_BASE_URL=$GW/api/v1
export OPENAI_API_KEY=$KEY
",
    ),
    (
        "Anthropic SDKs (shell)",
        "\
export ANTHROPIC_BASE_URL=$GW
export ANTHROPIC_API_KEY=$KEY
",
    ),
    (
        "google-genai SDKs (shell)",
        "\
export GOOGLE_GEMINI_BASE_URL=$GW/api/ai-proxy
export GEMINI_API_KEY=$KEY
",
    ),
    (
        "AI SDK (JavaScript)",
        "\
createOpenAI({ baseURL: \"$GW/api/v1\", apiKey: \"$KEY\" })
createAnthropic({ baseURL: \"$GW/api/v1\", apiKey: \"$KEY\" })
createGoogleGenerativeAI({ baseURL: \"$GW/api/v1/v1beta\", apiKey: \"$KEY\" })
",
    ),
    (
        "curl",
        "\
curl $GW/v1/messages -H \"x-api-key: $KEY\" -H \"anthropic-version: 2023-06-01\" -d @body.json
curl \"$GW/v1beta/models/gemini-2.5-pro:generateContent?key=$KEY\" -d @body.json
",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_and_what_to_paste() {
        let text = new("frontend", "alice", "https://ai.example.com:8443/").unwrap();
        let key = text.lines().find(|line| line.starts_with("aicp_frontend_alice_")).unwrap();
        assert!(key::Parts::of(key).is_some());
        assert!(text.contains(&format!("- {{hash: \"{}\", group: frontend, user: alice}}", key::hash_text(key))));
        assert!(text.contains("export ANTHROPIC_BASE_URL=https://ai.example.com:8443/api/v1\n"));
        assert!(text.contains(&format!("export AICP_KEY={key}\n")));
        assert!(!text.contains("$GW") && !text.contains("$KEY"));
        for client in [
            "Claude Code",
            "Codex",
            "Gemini CLI",
            "Qwen Code",
            "opencode",
            "Copilot",
            "Kimi",
            "aider",
            "Continue",
            "Cursor",
            "curl",
        ] {
            assert!(text.contains(&format!("# {client}")), "{client}");
        }
        assert_ne!(text, new("frontend", "alice", "https://ai.example.com:8443").unwrap());
    }

    #[test]
    fn what_is_no_id_and_no_address() {
        assert!(new("Front_End", "alice", "http://x").unwrap_err().contains("--group Front_End"));
        assert!(new("g", "", "http://x").unwrap_err().contains("--user"));
        for gateway in ["", "ai.example.com", "ftp://x", "http://", "http://x/$(id)", "http://x?a=b"] {
            assert!(new("g", "u", gateway).is_err(), "{gateway}");
        }
    }

    #[test]
    fn hashes() {
        let key = "aicp_frontend_alice_640b9937285908fa640b9937285908fa";
        assert_eq!(hash(&format!(" {key}\n")).unwrap(), format!("{}\n", key::hash_text(key)));
        let error = hash("aicp_secret").unwrap_err();
        assert!(!error.contains("secret"));
    }
}

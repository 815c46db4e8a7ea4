//! The built-in services: where they are reached, how a credential travels, whose prices apply, which models they serve.
//!
//! Addresses and ways of authentication: `providers.md` sections 3 to 14 (state 2026-11). Base URLs as each vendor's SDK takes them:
//! openai with its version, anthropic and gemini without.

use super::snapshot::Auth;

/// A row of the table.
pub(super) struct BuiltIn {
    pub(super) id: &'static str,
    pub(super) anthropic: Option<&'static str>,
    pub(super) openai: Option<&'static str>,
    pub(super) gemini: Option<&'static str>,
    /// `None` = as the dialect has it: x-api-key, bearer, x-goog-api-key.
    pub(super) auth: Option<Auth>,
    /// Whose entries of the price book apply.
    pub(super) prices: &'static str,
    /// Patterns of the models it serves, beside the entries of its prices; none = all.
    pub(super) families: &'static [&'static str],
}

const PLAIN: BuiltIn = BuiltIn { id: "", anthropic: None, openai: None, gemini: None, auth: None, prices: "", families: &[] };

pub(super) const DEMO: &str = "demo";

pub(super) const BUILT_IN: &[BuiltIn] = &[
    BuiltIn { id: "claude", anthropic: Some("https://api.anthropic.com"), prices: "anthropic", families: &["claude-*"], ..PLAIN },
    BuiltIn {
        id: "openai",
        openai: Some("https://api.openai.com/v1"),
        prices: "openai",
        // `o?` and `o?-*` are o1, o3, o4-mini …: a bare `o*` would also take open-mistral-nemo.
        families: &[
            "gpt-*",
            "o?",
            "o?-*",
            "chatgpt-*",
            "chat-latest",
            "codex-*",
            "ft:*",
            "text-embedding-3-*",
            "text-embedding-ada-*",
            "text-moderation-*",
            "omni-moderation-*",
            "dall-e-*",
            "tts-*",
            "whisper-1",
            "computer-use-*",
            "davinci-*",
            "babbage-*",
        ],
        ..PLAIN
    },
    BuiltIn {
        id: "gemini",
        // The OpenAI form takes the same key as a bearer.
        openai: Some("https://generativelanguage.googleapis.com/v1beta/openai"),
        gemini: Some("https://generativelanguage.googleapis.com"),
        prices: "gemini",
        families: &[
            "gemini-*",
            "gemma-*",
            "imagen-*",
            "veo-*",
            "learnlm-*",
            "text-embedding-004",
            "embedding-*",
            "nano-banana-*",
            "deep-research-*",
        ],
        ..PLAIN
    },
    BuiltIn {
        id: "qwen",
        anthropic: Some("https://dashscope-intl.aliyuncs.com/apps/anthropic"),
        openai: Some("https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
        auth: Some(Auth::Bearer),
        prices: "dashscope",
        families: &["qwen*", "qwq-*", "qvq-*"],
        ..PLAIN
    },
    BuiltIn {
        id: "kimi",
        anthropic: Some("https://api.moonshot.ai/anthropic"),
        openai: Some("https://api.moonshot.ai/v1"),
        auth: Some(Auth::Bearer),
        prices: "moonshot",
        families: &["kimi-*", "moonshot-*"],
        ..PLAIN
    },
    BuiltIn {
        id: "glm",
        anthropic: Some("https://api.z.ai/api/anthropic"),
        openai: Some("https://api.z.ai/api/paas/v4"),
        auth: Some(Auth::Bearer),
        prices: "zhipu",
        families: GLM,
        ..PLAIN
    },
    BuiltIn {
        id: "glm-cn",
        anthropic: Some("https://open.bigmodel.cn/api/anthropic"),
        openai: Some("https://open.bigmodel.cn/api/paas/v4"),
        auth: Some(Auth::Bearer),
        prices: "zhipu-cn",
        families: GLM,
        ..PLAIN
    },
    BuiltIn {
        id: "deepseek",
        anthropic: Some("https://api.deepseek.com/anthropic"),
        openai: Some("https://api.deepseek.com/v1"),
        prices: "deepseek",
        families: &["deepseek-*"],
        ..PLAIN
    },
    BuiltIn {
        id: "minimax",
        anthropic: Some("https://api.minimax.io/anthropic"),
        openai: Some("https://api.minimax.io/v1"),
        prices: "minimax",
        families: &["minimax-*", "m2-*", "abab*", "speech-*"],
        ..PLAIN
    },
    BuiltIn {
        id: "mistral",
        openai: Some("https://api.mistral.ai/v1"),
        prices: "mistral",
        families: &[
            "mistral-*",
            "ministral-*",
            "codestral-*",
            "devstral-*",
            "magistral-*",
            "pixtral-*",
            "voxtral-*",
            "open-mistral-*",
            "open-mixtral-*",
        ],
        ..PLAIN
    },
    BuiltIn { id: "xai", openai: Some("https://api.x.ai/v1"), prices: "xai", families: &["grok-*"], ..PLAIN },
    BuiltIn {
        id: "groq",
        openai: Some("https://api.groq.com/openai/v1"),
        prices: "groq",
        families: &[
            "llama-*",
            "llama3-*",
            "meta-llama/*",
            "openai/*",
            "qwen/*",
            "moonshotai/*",
            "deepseek-r1-distill-*",
            "gemma2-*",
            "mistral-saba-*",
            "whisper-large-*",
            "compound*",
            "groq/*",
            "canopylabs/*",
        ],
        ..PLAIN
    },
    BuiltIn {
        id: "openrouter",
        // The Anthropic form is `/api/v1/messages`.
        anthropic: Some("https://openrouter.ai/api"),
        openai: Some("https://openrouter.ai/api/v1"),
        auth: Some(Auth::Bearer),
        prices: "openrouter",
        families: &["*/*"],
        ..PLAIN
    },
    // Each resource has its own host, so the account gives the address; a model's name is that of its deployment.
    BuiltIn { id: "azure", auth: Some(Auth::ApiKey), prices: "openai", ..PLAIN },
    BuiltIn { id: DEMO, auth: Some(Auth::None), prices: DEMO, ..PLAIN },
];

const GLM: &[&str] = &["glm-*", "chatglm*", "cogview-*"];

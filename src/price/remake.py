#!/usr/bin/env python3
"""Makes prices.yaml, the built-in price book, from a prices.json of model price facts.

    python3 src/price/remake.py path/to/prices.json > src/price/prices.yaml

One model a line, so that a change of a price is a change of a line. Left out is what the gateway does not use: where a price was read
(`src`), when a model ends (`retire`), what it supports, and unit prices that no answer reports (maps queries, session hours, pages,
characters of speech). What prices.json says in words only stands here: the exceptions of the clouds' regions, and who stands for whom.
"""
import json
import re
import sys

UNUSED = ("src", "retire", "supports", "per_maps_query", "per_session_hour", "per_page", "input_chars")
OLD_CLAUDE = ["claude-3*", "claude-2*", "claude-instant*", "claude-opus-4-0", "claude-opus-4-1", "claude-sonnet-4-0"]
REGIONS = ("us", "eu", "apac", "au", "jp")

# The notes of `provider_aliases`, as rules.
EXCEPTIONS = {
    "azure": [{"models": ["gpt-6*"], "region_multiplier": {"eu": "1.2", "apac": "1.2"}}],
    "bedrock": [{"models": OLD_CLAUDE, "region_multiplier": {region: "1" for region in REGIONS}}],
    "vertex": [{"models": [*OLD_CLAUDE, "gemini-*"], "region_multiplier": {"regional": "1"}}],
}
VERTEX_REGIONS = {"global": "1", "regional": "1.1"}
# OpenRouter passes on the list price of vendors that serve their models themselves; open-weight models it sends to whichever host
# is cheapest, so that their vendor's list price would be a guess.
ROUTER = {"vendors": {"anthropic": "anthropic", "openai": "openai", "google": "gemini", "x-ai": "xai"}}

HEAD = """\
# What models cost: the built-in price book. Made by remake.py; prices are changed there or, by an operator, in a `prices:` file of
# this shape, whose entries name the provider, service or account they count for.
# Prices are USD per 1,000,000 tokens, as decimal text; per_search, per_image and per_audio_hour are USD for one.
# An entry's `service` holds the prices of service tiers. Aliases may be patterns with * and ?.
"""


def flow(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{plain(k)}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return plain(value) if isinstance(value, str) else str(value)


def plain(text):
    """Words stay bare; all else, numbers too, is quoted."""
    return text if re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", text) and text not in ("null", "true", "false") else json.dumps(text)


def aliases(facts):
    made = {}
    for name, alias in facts["provider_aliases"].items():
        alias = {key: value for key, value in alias.items() if key != "note"}
        alias["as"] = alias["as"] if isinstance(alias["as"], list) else [alias["as"]]
        if name == "vertex":
            alias["region_multiplier"] = VERTEX_REGIONS
        if name == "azure":
            alias["region_multiplier"].setdefault("apac", "1")
        if name in EXCEPTIONS:
            alias["exceptions"] = EXCEPTIONS[name]
        made[name] = alias
    made["openrouter"] = ROUTER
    providers = list(dict.fromkeys(model["provider"] for model in facts["models"]))
    made["demo"] = {"as": [provider for provider in providers if provider != "zhipu-cn"]}
    return made


def main():
    facts = json.load(open(sys.argv[1], encoding="utf-8"))
    out = sys.stdout
    out.write(HEAD)
    out.write(f"as_of: {json.dumps(facts['as_of'])}\nunit: {facts['unit']}\nprovider_aliases:\n")
    for name, alias in aliases(facts).items():
        out.write(f"  {name}: {flow(alias)}\n")
    out.write("models:\n")
    for model in facts["models"]:
        out.write("- " + flow({key: value for key, value in model.items() if key not in UNUSED}) + "\n")


if __name__ == "__main__":
    main()

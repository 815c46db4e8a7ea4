//! The meter: eight bytes of settings (form, dialect, header, encoding, end, three sizes of pieces), then the answer's body.
//!
//! However the bytes are cut, the result is the same, and so is what is known in the middle.
#![no_main]

use std::io::Write;

use aicarpool::meter::estimate::ScriptBytes;
use aicarpool::meter::{End, Form, Meter, Spec};
use aicarpool::words::{Basis, Dialect, Metered};
use aicarpool_fuzz::{Settings, pieces};
use libfuzzer_sys::fuzz_target;

const FORMS: [(Form, Dialect); 10] = [
    (Form::Messages, Dialect::Anthropic),
    (Form::Chat, Dialect::Openai),
    (Form::Responses, Dialect::Openai),
    (Form::Generate, Dialect::Gemini),
    (Form::Embed, Dialect::Openai),
    (Form::Predict, Dialect::Gemini),
    (Form::Images, Dialect::Openai),
    (Form::Audio, Dialect::Openai),
    (Form::Rerank, Dialect::Openai),
    (Form::Free, Dialect::Openai),
];
const DIALECTS: [Option<Dialect>; 6] = [None, None, None, Some(Dialect::Anthropic), Some(Dialect::Openai), Some(Dialect::Gemini)];
const HEADERS: [(u16, &str); 6] = [
    (200, "text/event-stream"),
    (200, "application/json"),
    (200, "audio/mpeg"),
    (200, "text/plain; charset=utf-8"),
    (206, ""),
    (429, "application/json"),
];
/// How the body came: `Packed` is packed here, `Raw` stands in the input and may be faulty.
#[derive(Clone, Copy)]
enum Coding {
    Plain,
    Packed,
    Raw(&'static str),
}
const CODINGS: [Coding; 10] = [
    Coding::Plain,
    Coding::Plain,
    Coding::Plain,
    Coding::Plain,
    Coding::Plain,
    Coding::Packed,
    Coding::Raw("gzip"),
    Coding::Raw("deflate"),
    Coding::Raw("br"),
    Coding::Raw("zstd"),
];
const MODELS: [Option<&str>; 5] = [None, Some("gpt-4o"), Some("whisper-1"), Some("gemini-2.5-flash"), Some("gemini-3-pro")];

fuzz_target!(|input: &[u8]| {
    let Some((mut settings, body)) = Settings::split(input, 8) else { return };
    let (form, dialect) = settings.pick(&FORMS);
    let dialect = settings.pick(&DIALECTS).unwrap_or(dialect);
    let (status, content_type) = settings.pick(&HEADERS);
    let coding = settings.pick(&CODINGS);
    let last = settings.below(20);
    let how = if last % 2 == 0 { End::Complete } else { End::Cut };
    let model = MODELS[last / 4];
    let mut input = ScriptBytes::default();
    input.add(b"What is the answer?");
    let spec = Spec {
        dialect,
        form,
        status,
        content_type,
        content_encoding: None,
        model: model.map(Into::into),
        input,
        limits: (last % 4 > 1).then_some((200_000, 8_192)),
    };
    let sizes = [settings.below(255), settings.below(64), settings.below(16)];
    match coding {
        Coding::Plain => check(&spec, body, &sizes, how),
        Coding::Packed => check_packed(&spec, body, &sizes, how),
        Coding::Raw(encoding) => check_raw(&Spec { content_encoding: Some(encoding), ..spec }, body, &sizes, how),
    }
});

fn check(spec: &Spec<'_>, body: &[u8], sizes: &[usize], how: End) {
    let mut whole = Meter::new(spec.clone());
    whole.feed(body);
    let expected = whole.end(how);
    check_result(&expected);
    // Up to the middle in pieces, and at once; then on to the end in pieces.
    let middle = sizes.iter().sum::<usize>().min(body.len());
    let mut torn = Meter::new(spec.clone());
    pieces(&body[..middle], sizes).for_each(|piece| torn.feed(piece));
    let mut half = Meter::new(spec.clone());
    half.feed(&body[..middle]);
    assert_eq!(state(&torn), state(&half), "in the middle");
    let terminal = torn.terminal();
    pieces(&body[middle..], sizes).for_each(|piece| torn.feed(piece));
    assert!(torn.terminal() >= terminal, "the terminal event is taken back");
    assert_eq!(format!("{:?}", torn.end(how)), format!("{expected:?}"));
    assert_eq!(state(&torn), state(&whole));
}

fn state(meter: &Meter) -> String {
    format!("{:?} {} {} {:?}", meter.so_far(), meter.terminal(), meter.content(), meter.container())
}

fn check_result(metered: &Metered) {
    assert!(metered.basis != Basis::None || metered.usage.is_empty(), "{metered:?}");
    assert!(!metered.implausible || metered.basis == Basis::Estimated, "{metered:?}");
    // Sums that overflow panic here.
    let (_prompt, _all) = (metered.usage.prompt_tokens(), metered.usage.all_tokens());
    assert!(metered.rounds.len() <= 1024, "{} rounds", metered.rounds.len());
    assert!([&metered.model, &metered.error, &metered.object_id].into_iter().flatten().all(|text| text.len() <= 1024));
}

fn check_packed(spec: &Spec<'_>, body: &[u8], sizes: &[usize], how: End) {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).expect("memory takes it");
    let packed = encoder.finish().expect("memory takes it");
    let mut plain = Meter::new(spec.clone());
    plain.feed(body);
    let mut meter = Meter::new(Spec { content_encoding: Some("gzip"), ..spec.clone() });
    pieces(&packed, sizes).for_each(|piece| meter.feed(piece));
    assert_eq!(format!("{:?}", meter.end(how)), format!("{:?}", plain.end(how)));
}

/// What a faulty encoding gives until its fault is seen may depend on the pieces.
fn check_raw(spec: &Spec<'_>, body: &[u8], sizes: &[usize], how: End) {
    let mut meter = Meter::new(spec.clone());
    pieces(body, sizes).for_each(|piece| meter.feed(piece));
    check_result(&meter.end(how));
}

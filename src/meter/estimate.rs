//! Tokens from text, where a provider did not report them.
//!
//! A tokenizer's table knows frequent letters of a script together, so tokens follow the script more than the bytes. The
//! factors are bytes of UTF-8 per token, rounded from what the tokenizers in use (o200k, cl100k, Claude's, Gemini's) make
//! of running text; they differ among each other by about a quarter, and so may an estimate:
//!
//! | script | bytes of a letter | bytes per token |
//! |---|---|---|
//! | ASCII: English, code, JSON | 1 | 3.8 |
//! | Latin with marks | 2 | 3 |
//! | Greek, Cyrillic, Armenian | 2 | 4.5 |
//! | Hebrew, Arabic, Syriac | 2 | 4 |
//! | Indic scripts, Thai, Georgian, Ethiopic … | 3 | 5 |
//! | Chinese, Japanese, full-width forms | 3 | 3.2 |
//! | Korean syllables | 3 | 3.4 |
//! | all else: emoji, symbols, rare signs | 3 or 4 | 2 |

/// How many bytes of text there are of each script. A letter's first byte tells its script, so text may be cut anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptBytes([u64; Script::COUNT]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    Ascii,
    Latin,
    Cyrillic,
    Arabic,
    Indic,
    Chinese,
    Korean,
    Other,
}

impl Script {
    const COUNT: usize = 8;
    /// Tenths of a byte per token, in the order of the scripts.
    const TENTHS: [u64; Script::COUNT] = [38, 30, 45, 40, 50, 32, 34, 20];

    /// The script of a letter that begins with this byte, and how many bytes it has; `None` within a letter.
    fn of(first: u8) -> Option<(Script, u64)> {
        Some(match first {
            0x00..=0x7F => (Script::Ascii, 1),
            0x80..=0xBF => return None,
            0xC0..=0xCC => (Script::Latin, 2),
            0xCD..=0xD5 => (Script::Cyrillic, 2),
            0xD6..=0xDF => (Script::Arabic, 2),
            0xE0..=0xE1 => (Script::Indic, 3),
            0xE2 => (Script::Other, 3),
            0xE3..=0xE9 | 0xEF => (Script::Chinese, 3),
            0xEA..=0xEE => (Script::Korean, 3),
            0xF0..=0xFF => (Script::Other, 4),
        })
    }
}

impl ScriptBytes {
    /// Counts a piece of text.
    pub fn add(&mut self, text: &[u8]) {
        for piece in text.chunks(64) {
            if piece.is_ascii() {
                self.0[Script::Ascii as usize] += piece.len() as u64;
            } else {
                for (script, bytes) in piece.iter().filter_map(|byte| Script::of(*byte)) {
                    self.0[script as usize] += bytes;
                }
            }
        }
    }

    /// What another room counted roughly: ASCII, Chinese (or Japanese, Korean), everything else.
    pub fn rough(ascii: u64, cjk: u64, other: u64) -> ScriptBytes {
        let mut bytes = ScriptBytes::default();
        bytes.0[Script::Ascii as usize] = ascii;
        bytes.0[Script::Chinese as usize] = cjk;
        bytes.0[Script::Cyrillic as usize] = other;
        bytes
    }

    /// Adds what another counted.
    pub fn add_all(&mut self, other: &ScriptBytes) {
        for (here, more) in self.0.iter_mut().zip(other.0) {
            *here = here.saturating_add(more);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|bytes| *bytes == 0)
    }

    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.0.iter().sum()
    }

    /// How many tokens that is about; at least 1 where there is text.
    pub fn tokens(&self) -> u64 {
        // In 1/1000 of a token, so that short stretches of many scripts add up.
        let thousandths = self.0.iter().zip(Script::TENTHS).map(|(bytes, tenths)| bytes.saturating_mul(10_000) / tenths);
        thousandths.fold(0_u64, u64::saturating_add).div_ceil(1000)
    }
}

/// [`ScriptBytes::tokens`], as a function.
pub fn tokens(text: &ScriptBytes) -> u64 {
    text.tokens()
}

/// How many bytes of sound make a token of output audio, by the answer's content type. OpenAI's speech models make about
/// 21 tokens a second; the bit rates are those of its formats.
pub(super) fn audio_tokens(content_type: &str, bytes: u64) -> u64 {
    let bytes_per_token = match content_type.split(';').next().unwrap_or_default().trim() {
        "audio/wav" | "audio/x-wav" | "audio/pcm" | "audio/L16" => 2300,
        "audio/flac" | "audio/x-flac" => 1150,
        "audio/opus" | "audio/ogg" => 190,
        "audio/aac" => 600,
        _ => 770, // MP3, the default
    };
    bytes.div_ceil(bytes_per_token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(text: &str) -> ScriptBytes {
        let mut counted = ScriptBytes::default();
        counted.add(text.as_bytes());
        counted
    }

    #[track_caller]
    fn check(text: &str, expected: u64) {
        assert_eq!(count(text).tokens(), expected, "{text}");
        assert_eq!(count(text).bytes(), text.len() as u64);
    }

    #[test]
    fn each_script_has_its_factor() {
        check("", 0);
        check("a", 1);
        check("The quick brown fox jumps over the lazy dog.", 12);
        check("敏捷的棕色狐狸跳过懒狗", 11);
        check("빠른 갈색 여우가 게으른 개를 뛰어넘는다", 17);
        check("Съешь же ещё этих мягких французских булок", 18);
        check("الثعلب البني السريع يقفز", 12);
        check("ที่รวดเร็ว", 6);
        check("😀😀", 4);
    }

    proptest! {
        #[test]
        fn text_may_be_cut_anywhere(text in "\\PC{0,100}", size in 1usize..9) {
            let mut cut = ScriptBytes::default();
            text.as_bytes().chunks(size).for_each(|piece| cut.add(piece));
            prop_assert_eq!(cut, count(&text));
        }
    }
}

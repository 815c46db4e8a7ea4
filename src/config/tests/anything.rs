//! Whatever stands in the files: no panic, faults with a place, and nothing of the environment in any of them.

use proptest::prelude::*;
use proptest::sample::Index;

use super::loading::{FULLEST, fullest};
use super::*;

const SECRET: &str = "Hush-hush";

/// One slip of the pen.
#[derive(Clone, Debug)]
enum Slip {
    Delete(Index, usize),
    Repeat(Index, usize),
    Insert(Index, &'static str),
    Move(Index, Index, usize),
    Cut(Index),
}

fn slip() -> impl Strategy<Value = Slip> {
    let pieces = [
        "${SECRET}",
        "${UNSET}",
        "$${",
        "${",
        "{",
        "}",
        "[",
        "]",
        ":",
        ": ",
        ", ",
        "-",
        "\n",
        "\n  ",
        " ",
        "\"",
        "'",
        "&a ",
        "*a",
        "<<: ",
        "!x ",
        "|\n",
        "#",
        "0",
        "-1",
        "9999999999999999999999",
        "null",
        "~",
        "%",
        "\t",
        "\u{feff}",
        "\0",
        "é",
        "---\n",
        "? ",
        "a",
        "id",
        "key",
    ];
    prop_oneof![
        (any::<Index>(), 1..40usize).prop_map(|(at, length)| Slip::Delete(at, length)),
        (any::<Index>(), 1..80usize).prop_map(|(at, length)| Slip::Repeat(at, length)),
        (any::<Index>(), prop::sample::select(pieces.to_vec())).prop_map(|(at, piece)| Slip::Insert(at, piece)),
        (any::<Index>(), any::<Index>(), 1..60usize).prop_map(|(from, to, length)| Slip::Move(from, to, length)),
        any::<Index>().prop_map(Slip::Cut),
    ]
}

impl Slip {
    fn make(&self, text: &mut Vec<char>) {
        let place = |index: &Index, text: &[char]| index.index(text.len() + 1);
        let end = |start: usize, length: usize, text: &[char]| (start + length).min(text.len());
        match self {
            Slip::Delete(at, length) => {
                let start = place(at, text);
                text.drain(start..end(start, *length, text));
            }
            Slip::Repeat(at, length) => {
                let start = place(at, text);
                let piece = text[start..end(start, *length, text)].to_vec();
                text.splice(start..start, piece);
            }
            Slip::Insert(at, piece) => {
                let start = place(at, text);
                text.splice(start..start, piece.chars());
            }
            Slip::Move(from, to, length) => {
                let start = place(from, text);
                let piece: Vec<char> = text.drain(start..end(start, *length, text)).collect();
                let to = place(to, text);
                text.splice(to..to, piece);
            }
            Slip::Cut(at) => text.truncate(place(at, text)),
        }
    }
}

fn check(folder: &Folder, text: &str) {
    folder.write("aicarpool.yaml", text);
    let attempt = folder.attempt("aicarpool.yaml");
    match attempt.result {
        Ok(snapshot) => assert!(!snapshot.notes.iter().any(|note| note.contains(SECRET))),
        Err(faults) => {
            assert!(!faults.is_empty(), "refused without a word");
            for fault in faults {
                let shown = fault.to_string();
                assert!(!shown.contains(SECRET) && !shown.contains('\n'), "{shown}");
                assert!(
                    fault.line >= 1
                        && (fault.line <= text.split(['\n', '\r']).count() + 1 || !fault.file.ends_with("aicarpool.yaml")),
                    "{shown}"
                );
            }
        }
    }
}

#[test]
fn slips_in_the_fullest_configuration() {
    let folder = fullest().with("SECRET", SECRET);
    // Reading prices is the other room's, and slow unless optimised.
    let without_prices = FULLEST.replace("prices: [our-prices.yaml]\n", "");
    proptest!(|(slips in prop::collection::vec(slip(), 1..6))| {
        let mut text: Vec<char> = without_prices.chars().collect();
        slips.iter().for_each(|slip| slip.make(&mut text));
        check(&folder, &text.into_iter().collect::<String>());
    });
}

#[test]
fn any_text_at_all() {
    let folder = fullest();
    proptest!(|(text in "(?s).{0,200}", yaml in "[a-z:{}\\[\\], \"'#&*!|>?%@\n-]{0,120}")| {
        check(&folder, &text);
        check(&folder, &yaml);
    });
}

#[test]
fn a_variable_in_every_place() {
    let folder = fullest().with("SECRET", SECRET);
    let lines: Vec<&str> = FULLEST.lines().filter(|line| !line.starts_with("prices:")).collect();
    for (index, line) in lines.iter().enumerate() {
        let Some((name, _)) = line.split_once(": ") else { continue };
        let mut changed = lines.clone();
        let with = format!("{name}: \"${{SECRET}}\"");
        changed[index] = &with;
        check(&folder, &changed.join("\n"));
    }
}

#[test]
fn any_bytes() {
    let folder = fullest();
    proptest!(|(bytes in prop::collection::vec(any::<u8>(), 0..300))| {
        folder.write("aicarpool.yaml", &bytes);
        prop_assert!(folder.attempt("aicarpool.yaml").result.is_err());
    });
}

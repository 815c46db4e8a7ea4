//! What `docs/ARCHITECTURE.md` says of the rooms is true of `src/`: who may call whom.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What every room may use.
const WORDS: [&str; 2] = ["words", "clock"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names in backquotes of a table's cell.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Room → the rooms it may use; `all` and `all but …` are resolved.
fn map() -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let table = text.split("| room | ").nth(1).expect("no table of rooms");
    let rows: Vec<[String; 2]> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
            [cells[0].to_owned(), cells[2].trim().to_owned()]
        })
        .collect();
    let names: Vec<Vec<String>> = rows.iter().map(|row| quoted(row[0].split('(').next().unwrap())).collect();
    let mut map = BTreeMap::new();
    for (row, own) in rows.iter().zip(&names) {
        let listed = quoted(&row[1]);
        let allowed = if row[1].starts_with("all") {
            names.concat().into_iter().filter(|name| !listed.contains(name)).collect()
        } else {
            listed
        };
        for name in own {
            map.insert(name.clone(), allowed.clone());
        }
    }
    map
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.file_stem().unwrap().to_string_lossy().contains("tests") {
            found.push(path);
        }
    }
}

/// The rooms named after `crate::` in one line of code, groups in braces included.
fn named(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for rest in line.split("crate::").skip(1) {
        let list = rest.strip_prefix('{').map_or(rest, |rest| rest.split('}').next().unwrap());
        let word = |text: &str| text.trim().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
        if rest.starts_with('{') { rooms.extend(list.split(',').map(word)) } else { rooms.push(word(list)) }
    }
    rooms.retain(|room| !room.is_empty());
    rooms
}

#[test]
fn rooms_use_only_what_the_map_allows() {
    let map = map();
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    files.sort();
    let mut faults = Vec::new();
    for path in files {
        let relative = path.strip_prefix(root()).unwrap();
        let room = relative.components().nth(1).unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        if ["lib", "main"].contains(&room.as_str()) {
            continue;
        }
        let Some(allowed) = map.get(&room) else {
            faults.push(format!("{}: `{room}` is not on the map", relative.display()));
            continue;
        };
        // Files that only tests have may look wherever they like.
        let name = path.file_stem().unwrap().to_string_lossy();
        if ["tests", "testing", "corpus"].contains(&&*name) || path.parent().unwrap().ends_with("tests") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for used in named(line) {
                if used != room && !WORDS.contains(&used.as_str()) && map.contains_key(&used) && !allowed.contains(&used) {
                    faults.push(format!(
                        "{}:{}: `{room}` uses `{used}`, which the map does not allow",
                        relative.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_room_on_the_map_is_there() {
    for room in map().keys() {
        let (file, folder) = (root().join(format!("src/{room}.rs")), root().join(format!("src/{room}/mod.rs")));
        assert!(file.exists() || folder.exists(), "docs/ARCHITECTURE.md has a room `{room}`, src/ has none");
    }
}

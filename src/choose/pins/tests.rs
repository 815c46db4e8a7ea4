use std::sync::Arc;

use super::super::testing::*;
use super::*;
use crate::config::snapshot::{Source, Strategy, User};
use crate::words::Id;

const NOW: UnixMs = UnixMs(1_795_251_600_000);
const DAY: i64 = 24 * 3_600_000;

/// A key of `user` in `group`, bound to `a0` and, not alone, to `shared`.
fn key_in(group_id: &str, user: User) -> Key {
    let mut tier = tier(Source::Pools, Strategy::Weighted, vec![member(&Arc::new(account("a0")), 1)]);
    tier.members.push(member(&Arc::new(account("shared")), 1));
    tier.members[1].sole = false;
    let mut group = group(vec![tier]);
    group.id = group_id.into();
    key_of(group, user)
}

fn alice() -> Key {
    key_in("frontend", user("alice"))
}

fn account_at(pins: &Pins, id: &str, now: UnixMs) -> Option<String> {
    pins.find(id, now).map(|pin| pin.account.to_string())
}

#[test]
fn what_was_made_is_found_where_it_was_made() {
    let pins = Pins::in_memory();
    pins.note("resp_1", &"a0".into(), &alice(), NOW);
    pins.note("file-2", &"shared".into(), &alice(), NOW);
    let check = |ids: &[&str], key: &Key, expected: Result<Reach, Code>| {
        assert_eq!(pins.reach(ids.iter().copied(), key, NOW).map_err(|refusal| refusal.code), expected, "{ids:?}");
    };
    let at = |id: &str| Ok(Reach::Account(id.into()));
    check(&[], &alice(), Ok(Reach::Any));
    check(&["resp_1"], &alice(), at("a0"));
    check(&["resp_1"], &key_in("frontend", user("bob")), at("a0"));
    check(&["resp_1"], &key_in("backend", user("alice")), Err(Code::UnknownPath));
    check(&["resp_1", "resp_1"], &alice(), at("a0"));
    check(&["resp_1", "file-2"], &alice(), Err(Code::BadRequest));
    check(&["resp_3"], &alice(), Ok(Reach::Sole));
    check(&["resp_3", "resp_1"], &alice(), at("a0"));
    check(&["resp_3", "file-2"], &alice(), Err(Code::UnknownPath));
}

#[test]
fn nobody_knows_and_nothing_is_sole_is_not_found() {
    let mut key = alice();
    Arc::get_mut(&mut key.group).unwrap().tiers[0].members.remove(0);
    let refusal = Pins::in_memory().reach(["resp_9\n"], &key, NOW).unwrap_err();
    assert_eq!((refusal.code, &*refusal.message), (Code::UnknownPath, r#""resp_9" is not known to group frontend"#));
}

#[test]
fn what_an_own_credential_made_is_its_users_alone() {
    let own = |name: &str| {
        let mut user = user(name);
        user.own_keys = vec![Arc::new(account(&format!("own/{name}/claude")))];
        key_in("frontend", user)
    };
    let pins = Pins::in_memory();
    pins.note("resp_1", &"own/alice/claude".into(), &own("alice"), NOW);
    assert_eq!(pins.reach(["resp_1"], &own("alice"), NOW), Ok(Reach::Account("own/alice/claude".into())));
    assert!(pins.reach(["resp_1"], &own("bob"), NOW).is_err());
}

#[test]
fn an_id_keeps_its_first_owner() {
    let pins = Pins::in_memory();
    pins.note("resp_1", &"a0".into(), &alice(), NOW);
    pins.note("resp_1", &"a1".into(), &key_in("backend", user("eve")), NOW);
    assert_eq!(account_at(&pins, "resp_1", NOW).as_deref(), Some("a0"));
}

#[test]
fn pins_end_after_30_days() {
    let pins = Pins::in_memory();
    pins.note("resp_1", &"a0".into(), &alice(), NOW);
    assert!(account_at(&pins, "resp_1", NOW.plus_ms(30 * DAY - 1)).is_some());
    assert!(account_at(&pins, "resp_1", NOW.plus_ms(30 * DAY)).is_none());
    pins.note("resp_2", &"a0".into(), &alice(), NOW.plus_ms(31 * DAY));
    assert_eq!(pins.table.lock().pins.len(), 1);
}

#[test]
fn no_more_than_so_many_are_kept() {
    let mut table = Table::new(10);
    let pin = |n: u128| Pin { account: Id::from(&*format!("a{n}")), enterprise: "e".into(), group: "g".into(), user: "u".into() };
    for n in 0..1_000u128 {
        table.note(n, pin(n), NOW.plus_ms(i64::try_from(n).unwrap()));
    }
    assert_eq!((table.pins.len(), table.order.len(), table.contents.len()), (10, 10, 10));
    assert!(table.find(990, NOW).is_some() && table.find(989, NOW).is_none());
    for day in 2..500 {
        table.note(990, pin(990), NOW.plus_ms(day * DAY));
    }
    assert!(table.order.len() <= 20);
}

// ------------------------------------------------------------------ over restarts

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }
    fn open(&self) -> Pins {
        Pins::open(self.0.path(), NOW).unwrap()
    }
    fn text(&self) -> String {
        std::fs::read_to_string(self.0.path().join("pins")).unwrap()
    }
    fn write(&self, text: &[u8]) {
        std::fs::write(self.0.path().join("pins"), text).unwrap();
    }
}

#[test]
fn pins_outlive_the_process() {
    let folder = Folder::new();
    let pins = folder.open();
    pins.note("resp_1", &"a0".into(), &alice(), NOW);
    pins.note("resp_2", &"own/alice/claude".into(), &alice(), NOW);
    drop(pins);
    expect_test::expect![[r#"
        aicarpool-pins 1
        1795251600000 7a8babb8a11671dfe03c4a5e8f77c6db a0 acme frontend alice
        1795251600000 5aaab330b3dd4348ee387081aa61de94 own/alice/claude acme frontend alice
    "#]]
    .assert_eq(&folder.text());
    let again = folder.open();
    assert_eq!(account_at(&again, "resp_1", NOW).as_deref(), Some("a0"));
    assert_eq!(account_at(&again, "resp_2", NOW).as_deref(), Some("own/alice/claude"));
}

fn line(at: i64, n: u32) -> String {
    format!("{at} {n:032x} a0 acme frontend alice\n")
}

#[test]
fn broken_lines_are_passed_over() {
    let folder = Folder::new();
    let mut text = b"aicarpool-pins 1\nnonsense\n\xff\xfe 1 2\n".to_vec();
    text.extend_from_slice(line(NOW.0, 1).as_bytes());
    text.extend_from_slice(&vec![b'x'; 3 << 20]);
    text.push(b'\n');
    text.extend_from_slice(line(NOW.0, 2).as_bytes());
    text.extend_from_slice(b"1795251600000 0000000000000000000000000000");
    folder.write(&text);
    drop(folder.open());
    assert_eq!(folder.text(), format!("aicarpool-pins 1\n{}{}", line(NOW.0, 1), line(NOW.0, 2)));
}

#[test]
fn a_start_writes_anew_what_is_mostly_of_no_use() {
    let folder = Folder::new();
    let old: String = (0..2_000).map(|n| line(NOW.0 - 31 * DAY, n)).collect();
    let older = folder.0.path().join("pins.old");
    std::fs::write(&older, line(NOW.0 - DAY, 7)).unwrap();
    folder.write(format!("aicarpool-pins 1\n{old}{}", line(NOW.0, 9)).as_bytes());
    drop(folder.open());
    assert_eq!(folder.text(), format!("aicarpool-pins 1\n{}{}", line(NOW.0 - DAY, 7), line(NOW.0, 9)));
    assert!(!older.exists());
}

#[test]
fn a_full_file_makes_room_for_the_next() {
    let folder = Folder::new();
    let ids: Vec<String> = (0..250).map(|n| format!("resp_{n}")).collect();
    for ids in [&ids[..120], &ids[120..]] {
        let pins = folder.open();
        ids.iter().for_each(|id| pins.note(id, &"a0".into(), &alice(), NOW));
    }
    assert!(folder.0.path().join("pins.old").exists());
    // However the thread put them together, both files hold at least the newest of one full file.
    let pins = folder.open();
    assert!(ids[150..].iter().all(|id| pins.find(id, NOW).is_some()));
}

#[test]
fn another_version_is_set_aside() {
    let folder = Folder::new();
    folder.write(b"aicarpool-pins 2\nwho knows\n");
    drop(folder.open());
    assert_eq!(folder.text(), "aicarpool-pins 1\n");
    assert_eq!(std::fs::read_to_string(folder.0.path().join("pins.other")).unwrap(), "aicarpool-pins 2\nwho knows\n");
}

#[test]
fn two_processes_add_to_one_file() {
    let folder = Folder::new();
    let (old, new) = (folder.open(), folder.open());
    old.note("resp_1", &"a0".into(), &alice(), NOW);
    new.note("resp_2", &"a0".into(), &alice(), NOW);
    let table = Arc::clone(&new.table);
    drop(old);
    // The last thing that a thread does is to read on.
    drop(new);
    assert!(table.lock().find(hash("resp_1"), NOW).is_some());
    assert_eq!(folder.text().lines().count(), 3);
}

//! The recorded exchanges of `../shared/corpus`, where that folder is there: every one through the gateway, cost included.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::harness::Gateway;

fn corpus() -> Option<PathBuf> {
    let up = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    up.map(|folder| folder.join("shared/corpus/check.py")).find(|path| path.exists())
}

async fn walk(chunk: &str) {
    let Some(check) = corpus() else {
        println!("no shared/corpus here: skipped");
        return;
    };
    let mut command = tokio::process::Command::new("python3");
    command.arg(&check).arg("--bin").arg(Gateway::binary()).args(["--cost", "--chunk", chunk]);
    let exempt = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus-exempt.txt");
    if exempt.exists() {
        command.arg("--exempt").arg(exempt);
    }
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pieces of {chunk}:\n{said}");
}

#[tokio::test]
async fn in_pieces_of_seven_bytes() {
    walk("7").await;
}

#[tokio::test]
async fn in_pieces_of_16384_bytes() {
    walk("16384").await;
}

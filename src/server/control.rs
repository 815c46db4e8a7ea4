//! The control socket in `run_dir` (0700): how `aicarpool accounts` and `accounts unpark` reach the running process. One line of
//! text is asked, text is answered.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Client;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::admin;
use crate::choose::{self, Question};
use crate::clock;
use crate::parking;
use crate::rooms::Rooms;
use crate::words::Dialect;

/// A question is no longer than this.
const QUESTION_BYTES_MOST: u64 = 4096;
/// One conversation may take this long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the socket is.
pub fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}

/// Asks the running process.
///
/// # Errors
/// Where none answers.
pub fn ask(run_dir: &Path, question: &str) -> Result<String, String> {
    let path = path(run_dir);
    let fault = |e: std::io::Error| format!("{}: {e}; is the gateway running with this configuration?", path.display());
    let mut stream = Client::connect(&path).map_err(fault)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(fault)?;
    stream.write_all(format!("{question}\n").as_bytes()).map_err(fault)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(fault)?;
    Ok(answer)
}

/// Answers for as long as the process runs.
///
/// # Errors
/// Where the socket cannot be made.
pub(super) async fn serve(rooms: Arc<Rooms>, run_dir: PathBuf) -> std::io::Result<()> {
    let path = path(&run_dir);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let rooms = Arc::clone(&rooms);
        tokio::spawn(async move {
            if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, converse(stream, &rooms)).await {
                tracing::debug!("control socket: {error}");
            }
        });
    }
}

async fn converse(stream: UnixStream, rooms: &Rooms) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut question = String::new();
    BufReader::new(reader.take(QUESTION_BYTES_MOST)).read_line(&mut question).await?;
    let answer = answer(question.trim(), rooms);
    writer.write_all(answer.as_bytes()).await
}

fn answer(question: &str, rooms: &Rooms) -> String {
    let snapshot = rooms.config.current();
    let mut words = question.split(' ');
    match (words.next(), words.next()) {
        (Some("accounts"), None) => admin::accounts_json(&snapshot),
        (Some("unpark"), Some(id)) => {
            let Some(account) = snapshot.accounts.get(id) else { return format!("error: no account {id:?}\n") };
            let changes = parking::unpark(&account.live);
            for change in &changes {
                rooms.parking_changed(&account.id, change);
            }
            tracing::info!("audit: account {id} was unparked by the operator ({} parkings lifted)", changes.len());
            match changes.len() {
                0 => format!("account {id} was not parked\n"),
                lifted => format!("account {id} is free again ({lifted} parkings lifted)\n"),
            }
        }
        (Some("explain"), Some(group)) => {
            let (Some(user), Some(model)) = (words.next(), words.next()) else {
                return "error: explain GROUP USER MODEL\n".to_owned();
            };
            let named = words.next();
            let dialect = named.and_then(|name| Dialect::ALL.into_iter().find(|d| d.name() == name));
            let question = Question { group, user, model, dialect, live: true };
            choose::explain(&snapshot, &question, clock::now()).unwrap_or_else(|error| format!("error: {error}\n"))
        }
        _ => "error: ask for accounts, unpark ID or explain GROUP USER MODEL [DIALECT]\n".to_owned(),
    }
}

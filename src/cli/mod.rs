//! The command line: section 13 of the design.

pub mod key_new;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::choose::{self, Question};
use crate::clock;
use crate::config::{self, Store};
use crate::live::Lives;
use crate::server::{self, control};
use crate::words::Dialect;

#[derive(Parser)]
#[command(name = "aicarpool", version, about = "An AI gateway: teams share an enterprise's AI accounts", max_term_width = 100)]
struct Cli {
    /// The configuration.
    #[arg(short = 'c', long = "config", global = true, default_value = "conf/aicarpool.yaml", value_name = "FILE")]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway (the default).
    Run {
        /// Take the listening sockets over from the running process, which drains.
        #[arg(long)]
        upgrade: bool,
    },
    /// Check the configuration and print every fault.
    Check,
    /// Make keys, and the hashes under which the configuration keeps them.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Show which accounts a request would try, in which order, and why the others are none.
    Explain(Explain),
    /// Show the accounts of the running gateway, or unpark one.
    Accounts {
        #[command(subcommand)]
        command: Option<AccountsCommand>,
    },
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a key; it is shown once.
    New {
        #[arg(long)]
        group: String,
        #[arg(long)]
        user: String,
        /// Where the members reach the gateway.
        #[arg(long, default_value = "http://localhost:4000", value_name = "URL")]
        gateway: String,
    },
    /// Print the hash of a key, given as an argument or on standard input.
    Hash { key: Option<String> },
}

#[derive(Args)]
struct Explain {
    #[arg(long)]
    group: String,
    #[arg(long)]
    user: String,
    #[arg(long)]
    model: String,
    /// anthropic, openai or gemini; all without.
    #[arg(long)]
    dialect: Option<String>,
}

#[derive(Subcommand)]
enum AccountsCommand {
    /// Lift all parkings of an account.
    Unpark { id: String },
}

/// Runs the program. Exit codes: 0 fine, 1 faulty configuration or failure, 2 usage.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new(
            "info,pingora=warn,pingora_core=warn,pingora_proxy=warn,hickory_resolver=warn,hickory_net=warn,hickory_proto=warn",
        )
    });
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match cli.command.unwrap_or(Command::Run { upgrade: false }) {
        Command::Run { upgrade } => match server::run(&cli.config, upgrade) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        Command::Check => {
            let (text, code) = config::check_command(&cli.config);
            print(&text);
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
        Command::Key { command: KeyCommand::New { group, user, gateway } } => match key_new::new(&group, &user, &gateway) {
            Ok(text) => done(&text),
            Err(error) => fail(&error),
        },
        Command::Key { command: KeyCommand::Hash { key } } => {
            match key.map_or_else(read_line, Ok).and_then(|key| key_new::hash(&key)) {
                Ok(text) => done(&text),
                Err(error) => fail(&error),
            }
        }
        Command::Explain(explain) => explained(&cli.config, &explain),
        Command::Accounts { command } => accounts(&cli.config, command),
    }
}

fn read_line() -> Result<String, String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|e| e.to_string())?;
    Ok(line.trim().to_owned())
}

fn print(text: &str) {
    // A closed pipe is the reader's affair.
    std::io::stdout().write_all(text.as_bytes()).unwrap_or_default();
}

fn done(text: &str) -> ExitCode {
    print(text);
    ExitCode::SUCCESS
}

fn fail(error: &str) -> ExitCode {
    writeln!(std::io::stderr(), "{}", error.trim_end()).unwrap_or_default();
    ExitCode::from(1)
}

fn open(config: &std::path::Path) -> Result<Store, String> {
    Store::open(config, Arc::new(Lives::default()))
        .map_err(|faults| faults.iter().map(|fault| format!("{fault}\n")).collect::<String>())
}

/// Asks the running gateway, which knows what is parked; else explains by the file alone.
fn explained(config: &std::path::Path, explain: &Explain) -> ExitCode {
    let dialect = match explain.dialect.as_deref() {
        None => None,
        Some(name) => match Dialect::ALL.into_iter().find(|dialect| dialect.name() == name) {
            Some(dialect) => Some(dialect),
            None => return fail(&format!("no dialect {name:?}: anthropic, openai or gemini")),
        },
    };
    let store = match open(config) {
        Ok(store) => store,
        Err(error) => return fail(&error),
    };
    let snapshot = store.snapshot();
    let asked = [&explain.group, &explain.user, &explain.model];
    if asked.iter().all(|word| !word.contains(char::is_whitespace)) {
        let question =
            format!("explain {} {} {} {}", explain.group, explain.user, explain.model, dialect.map_or("", Dialect::name));
        if let Ok(answer) = control::ask(&snapshot.settings.run_dir, question.trim()) {
            return if let Some(error) = answer.strip_prefix("error: ") { fail(error) } else { done(&answer) };
        }
    }
    let question = Question { group: &explain.group, user: &explain.user, model: &explain.model, dialect, live: false };
    match choose::explain(&snapshot, &question, clock::now()) {
        Ok(text) => done(&text),
        Err(error) => fail(&error),
    }
}

fn accounts(config: &std::path::Path, command: Option<AccountsCommand>) -> ExitCode {
    let store = match open(config) {
        Ok(store) => store,
        Err(error) => return fail(&error),
    };
    let run_dir = store.snapshot().settings.run_dir.clone();
    let question = match &command {
        None => "accounts".to_owned(),
        Some(AccountsCommand::Unpark { id }) => format!("unpark {id}"),
    };
    match control::ask(&run_dir, &question) {
        Err(error) => fail(&error),
        Ok(answer) => match (answer.strip_prefix("error: "), command) {
            (Some(error), _) => fail(error),
            (None, Some(_)) => done(&answer),
            (None, None) => done(&table(&answer)),
        },
    }
}

/// The accounts as a table for people.
fn table(json: &str) -> String {
    let parsed: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let mut rows = vec![["ACCOUNT", "SERVICE", "IN FLIGHT", "STATE"].map(str::to_owned)];
    for account in parsed["accounts"].as_array().into_iter().flatten() {
        let parked: Vec<String> =
            account["parked"].as_array().into_iter().flatten().map(|parking| parked(parking, text)).collect();
        let state = match (account["enabled"].as_bool(), parked.is_empty()) {
            (Some(false), _) => "disabled".to_owned(),
            (_, true) => "ready".to_owned(),
            (_, false) => parked.join("; "),
        };
        let most = account["max_concurrency"].as_u64().map(|most| format!("/{most}")).unwrap_or_default();
        rows.push([text(&account["id"]), text(&account["service"]), format!("{}{most}", text(&account["in_flight"])), state]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    rows.iter()
        .map(|row| format!("{:<3$}  {:<4$}  {:<5$}  ", row[0], row[1], row[2], widths[0], widths[1], widths[2]) + &row[3] + "\n")
        .collect()
}

fn parked(parking: &serde_json::Value, text: impl Fn(&serde_json::Value) -> String) -> String {
    let until = match parking["until"].as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        Some(until) => format!("until {until:.0}"),
        None => "until it is unparked".to_owned(),
    };
    let model = parking["model"].as_str().map(|model| format!(" for {model}")).unwrap_or_default();
    let error = parking["error"].as_str().map(|error| format!(", {error}")).unwrap_or_default();
    format!("parked{model} ({}{error}) {until}", text(&parking["reason"]))
}

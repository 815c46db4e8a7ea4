//! The gateway under test: the real binary in a folder of its own, ended by its guard, its log shown when a test fails.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Answer, Client, Form, Request};
use super::metrics::Metrics;
use super::port::Port;
use super::wait::until;
use super::wire::Wire;

/// Ann's key in group `us`, the caller of most tests.
pub const KEY: &str = "aicp_us_ann_0123456789abcdef0123456789abcdef";

pub struct Setup {
    yaml: String,
    files: Vec<(String, Vec<u8>)>,
    env: Vec<(String, String)>,
    mounted: bool,
}

pub struct Gateway {
    pub folder: TempDir,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    ports: Vec<Port>,
    env: Vec<(String, String)>,
    process: Process,
}

/// A child that does not outlive the test.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to end.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Process {
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).unwrap())
    }
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }
    /// Waits for its end; tells how.
    pub async fn ended(&mut self) -> ExitStatus {
        until("the process to end", async || self.has_ended().ok_or_else(|| "it still runs".to_owned())).await
    }
}

impl Gateway {
    /// A gateway with this configuration. `listen`, `admin`, `access_log`, `run_dir` and `data_dir` are added where the text
    /// does not say them; `@folder@` in it becomes the gateway's folder.
    pub fn with(yaml: impl Into<String>) -> Setup {
        Setup { yaml: yaml.into(), files: Vec::new(), env: Vec::new(), mounted: false }
    }
    /// The program.
    pub fn binary() -> &'static Path {
        Path::new(env!("CARGO_BIN_EXE_aicarpool"))
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    // -------------------------------------------------------------- asking

    /// Asks on a new HTTP/1.1 connection.
    pub async fn ask(&self, request: &Request) -> Answer {
        Form::H1Length.ask(self.address, request).await
    }
    pub async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    // -------------------------------------------------------------- what it tells

    /// What it wrote to stderr so far.
    pub fn said(&self) -> String {
        read(&self.path("stderr.log"))
    }
    /// Waits until it has said this on stderr.
    pub async fn says(&self, text: &str) {
        self.says_times(text, 1).await;
    }
    pub async fn says_times(&self, text: &str, times: usize) {
        until(format!("{text:?} {times} times in the program's log"), async || {
            let said = self.said();
            if said.matches(text).count() >= times { Ok(()) } else { Err(said) }
        })
        .await
    }
    /// Waits until the access log has at least `count` lines.
    pub async fn log(&self, count: usize) -> Vec<Value> {
        until(format!("{count} lines in the access log"), async || {
            let lines = self.log_now();
            if lines.len() >= count { Ok(lines) } else { Err(format!("{} lines: {lines:?}", lines.len())) }
        })
        .await
    }
    pub fn log_now(&self) -> Vec<Value> {
        let text = read(&self.path("access.log"));
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(parse).collect()
    }
    /// The log line of the request with this id of ours.
    pub async fn line(&self, id: &str) -> Value {
        until(format!("the log line of {id}"), async || {
            let text = read(&self.path("access.log"));
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let mine: Vec<Value> =
                whole.lines().filter(|line| line.contains(id)).map(parse).filter(|line| line["id"] == id).collect();
            match &mine[..] {
                [line] => Ok(line.clone()),
                [] => Err(text),
                _ => panic!("more than one line for {id}: {mine:?}"),
            }
        })
        .await
    }
    /// The log line of this answer.
    pub async fn line_of(&self, answer: &Answer) -> Value {
        self.line(answer.id()).await
    }
    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin_text("/metrics").await)
    }
    /// Waits until a scrape satisfies `probe`.
    pub async fn metric(&self, what: &str, probe: impl Fn(&Metrics) -> bool) -> Metrics {
        until(what, async || {
            let metrics = self.metrics().await;
            if probe(&metrics) { Ok(metrics) } else { Err(metrics.text) }
        })
        .await
    }
    pub async fn admin(&self, path: &str) -> Answer {
        Client::connect(self.admin).await.ask(&Request::get(path)).await
    }
    async fn admin_text(&self, path: &str) -> String {
        self.admin(path).await.expect(200).text()
    }

    // -------------------------------------------------------------- changing it

    /// Puts `text` in place of a file, in one step, as an editor or a deployment does.
    pub fn replace(&self, file: &str, text: &str) {
        let new = self.path(&format!("{file}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(file)).unwrap();
    }
    /// Writes the configuration anew; it is not waited for.
    pub fn rewrite(&self, yaml: &str) {
        self.replace("aicarpool.yaml", &complete(yaml, self.folder.path(), &self.ports));
    }
    /// Swaps the folder of a mounted configuration for a new version of it.
    pub fn swap_mounted(&self, version: &str, yaml: &str) {
        let mounted = self.path("mounted");
        mount(&mounted, version, &complete(yaml, self.folder.path(), &self.ports));
    }
    /// Writes the configuration anew and waits until it is in force.
    pub async fn reload(&self, yaml: &str) {
        let before = self.metrics().await.sum("config_reload_total", &[]);
        self.rewrite(yaml);
        self.metric("the new configuration in force", |m| m.sum("config_reload_total", &[]) > before).await;
    }

    // -------------------------------------------------------------- the command line

    /// Runs the program beside the gateway, in its folder, and waits for its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(Gateway::binary());
        command.args(arguments).current_dir(self.folder.path()).envs(self.env.iter().cloned()).kill_on_drop(true);
        super::wait::within(format!("aicarpool {arguments:?}"), command.output()).await.unwrap()
    }
    /// Starts a second process in the same folder.
    pub fn spawn(&self, arguments: &[&str]) -> Process {
        spawn(self.folder.path(), arguments, &self.env)
    }
    /// Puts a process in the place of the one that was guarded so far; hands out the old one.
    pub fn succeed(&mut self, process: Process) -> Process {
        std::mem::replace(&mut self.process, process)
    }
    /// Waits until the gateway is ready.
    pub async fn ready(&mut self) {
        let (address, admin) = (self.address, self.admin);
        until("the gateway to be ready", async || {
            if let Some(status) = self.process.has_ended() {
                panic!("the gateway ended at its start ({status}):\n{}", read(&self.folder.path().join("stderr.log")));
            }
            match probe(admin).await {
                Some(200) => Wire::connect(address).await.map(drop).map_err(|e| format!("the data port: {e}")),
                other => Err(format!("/readyz: {other:?}")),
            }
        })
        .await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let show = |title: &str, text: String| {
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("---- {title}\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
            };
            show("aicarpool.yaml", read(&self.path("aicarpool.yaml")));
            show("access.log", read(&self.path("access.log")));
            show("stderr of the gateway", self.said());
        }
    }
}

impl Setup {
    /// A file beside the configuration (`secrets/key`, `ca.pem`).
    pub fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Setup {
        self.files.push((path.to_owned(), content.as_ref().to_vec()));
        self
    }
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }
    /// The configuration lies in `mounted/` as Kubernetes mounts one: linked into a folder that can be swapped.
    pub fn mounted(mut self) -> Setup {
        self.mounted = true;
        self
    }
    /// Lays the folder out without starting anything.
    pub fn laid_out(&self, ports: &[Port]) -> TempDir {
        let folder = tempfile::Builder::new().prefix("aicarpool-test-").tempdir().unwrap();
        for (path, content) in &self.files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let text = complete(&self.yaml, folder.path(), ports);
        if self.mounted {
            let mounted = folder.path().join("mounted");
            fs::create_dir(&mounted).unwrap();
            mount(&mounted, "..v1", &text);
            std::os::unix::fs::symlink("..data/aicarpool.yaml", mounted.join("aicarpool.yaml")).unwrap();
        } else {
            fs::write(folder.path().join("aicarpool.yaml"), text).unwrap();
        }
        folder
    }
    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Gateway {
        let mut gateway = self.begin();
        gateway.ready().await;
        gateway
    }
    /// The same for one whose configuration has no admin port.
    pub async fn start_without_admin(self) -> Gateway {
        let gateway = self.begin();
        until("the data port to be ready", async || match probe(gateway.address).await {
            Some(200) => Ok(()),
            other => Err(format!("/readyz: {other:?}")),
        })
        .await;
        gateway
    }
    fn begin(self) -> Gateway {
        let ports = vec![Port::free(), Port::free()];
        let folder = self.laid_out(&ports);
        let process = spawn(
            folder.path(),
            &["run", "-c", if self.mounted { "mounted/aicarpool.yaml" } else { "aicarpool.yaml" }],
            &self.env,
        );
        let (address, admin) = (ports[0].address(), ports[1].address());
        Gateway { folder, address, admin, ports, env: self.env, process }
    }
    /// Runs one command in the laid-out folder, without a gateway.
    pub async fn run(self, arguments: &[&str]) -> Output {
        let ports = [Port::free(), Port::free()];
        let folder = self.laid_out(&ports);
        let mut command = tokio::process::Command::new(Gateway::binary());
        command.args(arguments).current_dir(folder.path()).envs(self.env.iter().cloned()).kill_on_drop(true);
        super::wait::within(format!("aicarpool {arguments:?}"), command.output()).await.unwrap()
    }
}

async fn probe(address: SocketAddr) -> Option<u16> {
    let mut client = Client::over(Wire::connect(address).await.ok()?, address);
    client.send(&Request::get("/readyz")).await;
    client.any_head().await.map(|(status, _)| status)
}

fn spawn(folder: &Path, arguments: &[&str], env: &[(String, String)]) -> Process {
    let open = |name: &str| fs::File::options().create(true).append(true).open(folder.join(name)).unwrap();
    let child = Command::new(Gateway::binary())
        .args(arguments)
        .current_dir(folder)
        .envs(env.iter().cloned())
        .env("HOSTNAME", "test")
        .stdin(Stdio::null())
        .stdout(open("stdout.log"))
        .stderr(open("stderr.log"))
        .spawn()
        .unwrap();
    Process(child)
}

/// `..data` becomes a link to the folder `version`, in one step.
fn mount(mounted: &Path, version: &str, text: &str) {
    fs::create_dir(mounted.join(version)).unwrap();
    fs::write(mounted.join(version).join("aicarpool.yaml"), text).unwrap();
    std::os::unix::fs::symlink(version, mounted.join("..data_tmp")).unwrap();
    fs::rename(mounted.join("..data_tmp"), mounted.join("..data")).unwrap();
}

fn complete(yaml: &str, folder: &Path, ports: &[Port]) -> String {
    let folder = folder.display().to_string();
    let added = [
        ("listen", ports[0].address().to_string()),
        ("admin", ports[1].address().to_string()),
        ("run_dir", format!("{folder}/run")),
        ("data_dir", format!("{folder}/data")),
        ("access_log", format!("{{path: {folder}/access.log}}")),
        ("threads", "2".to_owned()),
    ];
    let said = |name: &str| yaml.lines().any(|line| line.starts_with(&format!("{name}:")));
    let mut text: String =
        added.iter().filter(|(name, _)| !said(name)).map(|(name, value)| format!("{name}: {value}\n")).collect();
    text += &yaml.replace("@folder@", &folder).replace("@listen@", &ports[0].address().to_string());
    text
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("no JSON ({e}): {line}"))
}

/// A file that may not be there yet.
fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

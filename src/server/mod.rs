//! Wiring: rooms, listeners, background work, the end.

mod certs;
pub mod control;
mod front;
mod leaving;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pingora::apps::http_app::HttpServer;
use pingora::listeners::tls::TlsSettings;
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::proxy::HttpProxy;
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{RunArgs, Server};
use pingora::services::listening::Service;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::certs::Certificate;
use self::front::Front;
use self::leaving::Leaving;
use crate::access_log::{AccessLog, Chosen};
use crate::admin::Admin;
use crate::buffered::Buffered;
use crate::choose::Pins;
use crate::clock;
use crate::config::snapshot::{Listen, Snapshot};
use crate::config::{self, Reloaded, Store};
use crate::gateway::Gateway;
use crate::health;
use crate::live::Lives;
use crate::metrics::Metrics;
use crate::parking;
use crate::rooms::Rooms;
use crate::running::Registry;
use crate::words::Verdict;

/// Pingora's own bound on tries: ours are `max_attempts`, times the addresses of a name.
const LOOPS_MOST: usize = 1_000;
/// Idle connections to providers, all threads together.
const IDLE_CONNECTIONS: usize = 16_384;
/// A Unix socket's path may be this long (`sun_path`).
const SOCKET_PATH_MOST: usize = 100;

/// The listening addresses with a certificate, and it.
type Certificates = Vec<(Listen, Arc<Certificate>)>;

/// Runs the gateway with the configuration at `path` until it is told to end.
///
/// # Errors
/// What keeps it from starting, in words for the operator.
pub fn run(path: &Path, upgrade: bool) -> Result<(), String> {
    let background = Runtime::new_background()?;
    let _entered = background.enter();
    // First of all: without a handler SIGHUP ends the process.
    let hangup = signal(SignalKind::hangup()).map_err(|e| e.to_string())?;
    raise_descriptor_limit();
    let lives = Arc::new(Lives::default());
    let store = Store::open(path, lives).map_err(|faults| {
        faults.iter().map(|fault| format!("{fault}\n")).collect::<String>()
            + &format!("{} faults; nothing was started", faults.len())
    })?;
    let config = Arc::new(store);
    let snapshot = config.snapshot();
    let settings = &snapshot.settings;
    let run_dir = prepare_run_dir(&settings.run_dir);
    let old = upgrade.then(|| running_pid(run_dir.as_deref())).transpose()?;
    if !upgrade {
        bindable(&snapshot)?;
    }
    let log = AccessLog::open(&settings.access_log.path).map_err(|e| format!("access_log: {e}"))?;
    let rooms = Arc::new(Rooms {
        peers: Default::default(),
        metrics: Metrics::new().map_err(|e| e.to_string())?,
        log,
        registry: Arc::new(Registry::default()),
        buffered: Arc::new(Buffered::default()),
        pins: Arc::new(open_pins(&settings.data_dir)),
        fields: AtomicU64::new(Chosen::of(settings.access_log.fields.as_deref()).bits()),
        config: Arc::clone(&config),
    });
    say_config(&rooms, &snapshot);
    let certificates = certificates(&snapshot)?;

    let upgrade_socket = run_dir.as_deref().unwrap_or(Path::new("/tmp")).join("upgrade.sock");
    if upgrade_socket.as_os_str().len() > SOCKET_PATH_MOST {
        return Err(format!("run_dir: {} is too long for a socket; choose a shorter one", upgrade_socket.display()));
    }
    let (tell, told) = watch::channel(false);
    let leaving =
        Leaving::new(Arc::clone(&rooms), tell, upgrade_socket.clone(), background.handle().clone()).map_err(|e| e.to_string())?;

    let mut server = Server::new_with_opt_and_conf(Opt { upgrade, ..Opt::default() }, server_conf(&snapshot, &upgrade_socket));
    if let Some(old) = old {
        tell_old_process(old, upgrade_socket.clone());
    }
    server.bootstrap();
    add_services(&mut server, &rooms, &snapshot, &certificates, told)?;
    write_pid(run_dir.as_deref());
    watch_all(&background, &rooms, certificates, hangup, run_dir);
    for note in &snapshot.notes {
        tracing::warn!("{note}");
    }
    let addresses: Vec<String> = settings.listen.iter().map(|listen| listen.address.to_string()).collect();
    tracing::info!("aicarpool {} listens on {}", env!("CARGO_PKG_VERSION"), addresses.join(", "));
    drop(snapshot);
    server.run(RunArgs { shutdown_signal: Box::new(leaving) });
    rooms.log.flush(Duration::from_secs(5));
    rooms.pins.flush();
    Ok(())
}

/// A runtime for what is no request.
trait Background: Sized {
    fn new_background() -> Result<Self, String>;
}

impl Background for Runtime {
    fn new_background() -> Result<Runtime, String> {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("background")
            .enable_all()
            .build()
            .map_err(|e| e.to_string())
    }
}

fn server_conf(snapshot: &Snapshot, upgrade_socket: &Path) -> ServerConf {
    let threads = match snapshot.settings.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    ServerConf {
        threads,
        // `leaving` ends the process itself, as soon as nothing runs or its own grace is over.
        grace_period_seconds: Some(snapshot.settings.grace.as_secs() + 3_600),
        graceful_shutdown_timeout_seconds: Some(1),
        upstream_keepalive_pool_size: IDLE_CONNECTIONS / threads,
        max_retries: LOOPS_MOST,
        upgrade_sock: upgrade_socket.to_string_lossy().into_owned(),
        ..ServerConf::default()
    }
}

fn add_services(
    server: &mut Server,
    rooms: &Arc<Rooms>,
    snapshot: &Snapshot,
    certificates: &Certificates,
    told: watch::Receiver<bool>,
) -> Result<(), String> {
    let settings = &snapshot.settings;
    let conf = Arc::clone(&server.configuration);
    let mut proxy = HttpProxy::new(Gateway { rooms: Arc::clone(rooms) }, conf);
    proxy.handle_init_modules();
    let mut options = pingora::apps::HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(settings.client.keep_alive);
    proxy.server_options = Some(options);
    let mut h2 = default_h2_options();
    h2.max_concurrent_streams(settings.client.h2_streams);
    // Uploads of megabytes: the default of 64 KiB a stream would stop for each of them.
    h2.initial_window_size(1024 * 1024);
    h2.initial_connection_window_size(8 * 1024 * 1024);
    proxy.h2_options = Some(h2);
    let mut data = Service::new("gateway".to_owned(), Front::new(proxy, Arc::clone(&rooms.config), told));
    for listen in &settings.listen {
        add_listener(&mut data, listen, certificates)?;
    }
    server.add_service(data);

    let refresh = refresher(rooms, certificates);
    if let Some(admin) = &settings.admin {
        let app = Admin { rooms: Arc::clone(rooms), metrics_only: false, refresh: Arc::clone(&refresh) };
        let mut service = Service::new("admin".to_owned(), HttpServer::new_app(app));
        service.threads = Some(1);
        add_listener(&mut service, &admin.listen, certificates)?;
        server.add_service(service);
    }
    if let Some(address) = settings.metrics.listen {
        let app = Admin { rooms: Arc::clone(rooms), metrics_only: true, refresh };
        let mut service = Service::new("metrics".to_owned(), HttpServer::new_app(app));
        service.threads = Some(1);
        service.add_tcp(&address.to_string());
        server.add_service(service);
    }
    Ok(())
}

fn add_listener<A>(service: &mut Service<A>, listen: &Listen, certificates: &Certificates) -> Result<(), String> {
    let address = listen.address.to_string();
    let Some(files) = &listen.tls else {
        service.add_tcp(&address);
        return Ok(());
    };
    let (_, certificate) =
        certificates.iter().find(|(other, _)| other == listen).ok_or_else(|| format!("listen: {address} has no certificate"))?;
    let settings: TlsSettings = certs::settings(Arc::clone(certificate), files)?;
    service.add_tls_with_settings(&address, None, settings);
    Ok(())
}

fn certificates(snapshot: &Snapshot) -> Result<Certificates, String> {
    let settings = &snapshot.settings;
    let mut list = Vec::new();
    for listen in settings.listen.iter().chain(settings.admin.as_ref().map(|admin| &admin.listen)) {
        if let Some(files) = &listen.tls {
            let certificate = Arc::new(Certificate::default());
            certificate.read(files)?;
            list.push((listen.clone(), certificate));
        }
    }
    Ok(list)
}

/// What brings looked-up metrics up to date before each scrape.
fn refresher(rooms: &Arc<Rooms>, certificates: &Certificates) -> Arc<dyn Fn() + Send + Sync> {
    let rooms = Arc::clone(rooms);
    let certificates: Certificates = certificates.iter().map(|(listen, c)| (listen.clone(), Arc::clone(c))).collect();
    let dropped = AtomicU64::new(0);
    Arc::new(move || {
        let metrics = &rooms.metrics;
        let snapshot = rooms.config.current();
        let now = clock::now();
        for account in snapshot.all_accounts() {
            let id = account.id.as_str();
            if id.starts_with("own/") && !account.live.has_history() {
                continue;
            }
            metrics.account_in_flight.with_label_values(&[id]).set(i64::from(account.live.in_flight()));
            for change in parking::sweep(&account.live, now) {
                rooms.parking_changed(&account.id, &change);
            }
            let parked = parking::list(&account.live, now);
            for reason in Verdict::ALL {
                let is = parked.iter().any(|(_, parking)| parking.reason == Some(reason));
                metrics.parked(id, reason, is);
            }
        }
        for (listen, certificate) in &certificates {
            if let Some(ends) = certificate.ends() {
                let left = ends.saturating_sub(now.wall.0 / 1000);
                metrics.cert_expiry.with_label_values(&[&listen.address.to_string()]).set(left as f64);
            }
        }
        let total = rooms.log.dropped();
        metrics.log_dropped.inc_by(total.saturating_sub(dropped.swap(total, Ordering::AcqRel)));
    })
}

/// What `/metrics` says of the configuration in force.
fn say_config(rooms: &Rooms, snapshot: &Snapshot) {
    let metrics = &rooms.metrics;
    metrics.info.reset();
    metrics.info.with_label_values(&[&snapshot.hash]).set(1);
    metrics.keys.set(snapshot.keys.len() as f64);
    metrics.loaded.set(snapshot.loaded.0 as f64 / 1000.0);
    metrics.reload_failed.set(0.0);
    metrics.account_in_flight.reset();
    metrics.account_parked.reset();
}

fn watch_all(
    background: &Runtime,
    rooms: &Arc<Rooms>,
    certificates: Certificates,
    mut hangup: tokio::signal::unix::Signal,
    run_dir: Option<PathBuf>,
) {
    background.spawn(health::watch(Arc::clone(rooms)));
    let store = Arc::clone(&rooms.config);
    let told = Arc::clone(rooms);
    background.spawn(config::watch(store, move |reloaded| reloaded_to(&told, &certificates, reloaded)));
    let hung_up = Arc::clone(rooms);
    background.spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP: reading the configuration and opening the logs anew");
            hung_up.log.reopen();
            hung_up.config.reload_now();
        }
    });
    match run_dir.as_deref().map(control::bind) {
        Some(Ok(listener)) => {
            background.spawn(control::serve(Arc::clone(rooms), listener));
        }
        Some(Err(error)) => tracing::warn!("no control socket in run_dir: {error}; `aicarpool accounts` will not work"),
        None => {}
    }
}

fn reloaded_to(rooms: &Rooms, certificates: &Certificates, reloaded: &Reloaded) {
    match reloaded {
        Reloaded::Same => rooms.metrics.reload_failed.set(f64::from(u8::from(rooms.config.is_faulty()))),
        Reloaded::Faulty(faults) => {
            rooms.metrics.reload_failed.set(1.0);
            tracing::error!("the changed configuration has {} faults; the one before stays in force", faults.len());
            for fault in faults {
                tracing::error!("{fault}");
            }
        }
        Reloaded::New { notes, needs_restart } => {
            let snapshot = rooms.config.snapshot();
            rooms.metrics.reloads.inc();
            say_config(rooms, &snapshot);
            rooms.peers.reloaded();
            rooms.fields.store(Chosen::of(snapshot.settings.access_log.fields.as_deref()).bits(), Ordering::Relaxed);
            let good =
                |hash: &[u8; 32]| snapshot.keys.get(hash).is_some_and(|key| key.enabled && key.user.enabled && key.group.enabled);
            let ended = rooms.registry.revoke(good);
            if ended > 0 {
                tracing::info!("{ended} requests are ended: their key, user or group is gone or disabled");
            }
            for (listen, certificate) in certificates {
                if let Some(files) = &listen.tls
                    && let Err(error) = certificate.read(files)
                {
                    tracing::error!("the certificate of {} stays as it was: {error}", listen.address);
                }
            }
            if *rooms.log.path() != snapshot.settings.access_log.path {
                tracing::warn!("access_log.path changed: it counts after a restart");
            }
            for setting in needs_restart {
                tracing::warn!("{setting} changed: it counts after a restart");
            }
            for note in notes {
                tracing::warn!("{note}");
            }
            tracing::info!("a changed configuration is in force ({} keys)", snapshot.keys.len());
        }
    }
}

/// Ids of stored objects are kept in `data_dir`; where it cannot be written, until the end of the process.
fn open_pins(data_dir: &Path) -> Pins {
    Pins::open(data_dir, clock::now().wall).unwrap_or_else(|error| {
        tracing::warn!(
            "data_dir {}: {error}; which account made which file, batch or response is known only until a restart",
            data_dir.display()
        );
        Pins::in_memory()
    })
}

/// Fails early and in words where an address is taken; Pingora would panic.
fn bindable(snapshot: &Snapshot) -> Result<(), String> {
    let settings = &snapshot.settings;
    let admin = settings.admin.as_ref().map(|admin| admin.listen.address);
    let all = settings.listen.iter().map(|listen| listen.address).chain(admin).chain(settings.metrics.listen);
    for address in all {
        TcpListener::bind(address).map_err(|e| format!("cannot listen on {address}: {e}"))?;
    }
    Ok(())
}

/// As many descriptors as the system allows: each proxied stream takes two.
fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!("the limit of open files stays at {soft}: {error}");
    }
}

/// Makes the folder for pid file and sockets, for this user alone; `None` where it cannot be made.
fn prepare_run_dir(run_dir: &Path) -> Option<PathBuf> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(run_dir)
        .and_then(|()| fs::set_permissions(run_dir, fs::Permissions::from_mode(0o700)));
    match made {
        Ok(()) => Some(run_dir.to_owned()),
        Err(error) => {
            tracing::warn!(
                "run_dir {}: {error}; going on without pid file and control socket: no upgrade, no `aicarpool accounts`",
                run_dir.display()
            );
            None
        }
    }
}

fn pid_file(run_dir: &Path) -> PathBuf {
    run_dir.join("aicarpool.pid")
}

fn write_pid(run_dir: Option<&Path>) {
    let Some(run_dir) = run_dir else { return };
    let path = pid_file(run_dir);
    let fresh = path.with_extension("new");
    let written = fs::File::create(&fresh)
        .and_then(|mut file| writeln!(file, "{}", std::process::id()))
        .and_then(|()| fs::rename(&fresh, &path));
    if let Err(error) = written {
        tracing::warn!("{}: {error}", path.display());
    }
}

/// The process that is to hand its sockets over.
fn running_pid(run_dir: Option<&Path>) -> Result<Pid, String> {
    let run_dir = run_dir.ok_or("--upgrade needs a run_dir that can be written")?;
    let path = pid_file(run_dir);
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}; nothing to upgrade from", path.display()))?;
    let pid = text.trim().parse().map(Pid::from_raw).map_err(|_| format!("{}: no process id in it", path.display()))?;
    kill(pid, None).map_err(|e| format!("{}: process {pid} does not run ({e}); start without --upgrade", path.display()))?;
    Ok(pid)
}

/// Sends SIGQUIT to the old process as soon as this one waits for its sockets.
fn tell_old_process(old: Pid, socket: PathBuf) {
    match fs::remove_file(&socket) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!("{}: {error}", socket.display()),
    }
    thread::spawn(move || {
        for _ in 0..500 {
            if socket.exists() {
                if let Err(error) = kill(old, Signal::SIGQUIT) {
                    tracing::error!("process {old} cannot be told to hand over: {error}");
                }
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    });
}

//! The workers: the product's binary as child processes, each with its configuration and its own way to the database. One that
//! ends is started again, as an orchestrator would; one that ends without being asked to is a violation.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};

use crate::proxy::Proxy;
use crate::servers::{signal, spawn, tied};

/// Workers that always run.
pub const WORKERS: usize = 3;
/// Pause before a worker that ended is started again.
const BACKOFF: Duration = Duration::from_millis(500);
/// How often the workers are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How much goes into a worker's spool, in MiB: more than any outage brings, or so little that it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spools {
    Large = 64,
    Small = 1,
}

/// What every worker's configuration says.
pub struct Common {
    pub brokers: String,
    pub group: String,
    pub topic: String,
    pub database: String,
    /// Where batches wait while the database is away: one file for each worker. None waits in Kafka.
    pub spools: Option<(PathBuf, Spools)>,
}

impl Common {
    /// The configuration of a worker that reaches the database on that port.
    pub fn file(&self, port: u16) -> String {
        let Self { brokers, group, topic, database, spools: _ } = self;
        format!(
            "[kafka]\nbrokers = \"{brokers}\"\ngroup = \"{group}\"\nsecurity = \"plaintext\"\nsession_timeout_ms = 6000\n\
             [database]\nurl = \"postgres://worker@127.0.0.1:{port}/{database}?sslmode=disable\"\n\
             statement_timeout_ms = 5000\nlock_timeout_ms = 2000\nidle_in_transaction_timeout_ms = 2000\n\
             [database.pool]\nsize = 6\ncheckout_timeout_ms = 2000\nconnect_timeout_ms = 2000\n\
             [http]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"info\"\n[shutdown]\ndrain_ms = 20000\n\
             [topics.odds]\nname = \"{topic}\"\n\
             [topics.odds.dead_letters]\nmax_ratio = 0.2\n[topics.odds.batch]\nrows = 200\nage_ms = 50\n\
             [topics.games]\nenabled = false\n[topics.articles]\nenabled = false\n\
             [topics.sharp-signals]\nenabled = false\n[topics.betting-analyses]\nenabled = false\n"
        )
    }
}

impl Common {
    /// The configuration of one of the workers: its own spool is all that it does not share.
    fn worker(&self, index: usize, port: u16) -> String {
        let spool = self.spools.as_ref().map(|(folder, size)| {
            let file = spool(folder, index);
            let mib = *size as u8;
            format!("[store]\non_outage = \"spool\"\nspool_after_ms = 500\nspool_mib = {mib}\nspool_file = {file:?}\n")
        });
        self.file(port) + &spool.unwrap_or_default()
    }
}

fn spool(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("spool-{index}.db"))
}

/// The binary with that configuration.
pub fn command(config: &Path) -> Command {
    let mut command = tied("KILL", Path::new(env!("CARGO_BIN_EXE_ledgerline")));
    command.arg("--config").arg(config);
    command
}

/// A place for a worker.
struct Slot {
    config: PathBuf,
    wanted: bool,
    /// The driver has sent a signal that ends it.
    asked: bool,
    child: Option<Child>,
    /// Of the last one that was started.
    log: PathBuf,
    start_at: Instant,
}

/// How a worker ended that was asked to.
type Asked = (usize, ExitStatus);

/// All workers of a run.
pub struct Fleet {
    folder: PathBuf,
    pub proxies: Vec<Arc<Proxy>>,
    slots: Mutex<Vec<Slot>>,
    /// Ends that nobody asked for.
    pub unasked: Mutex<Vec<String>>,
    asked: Mutex<Vec<Asked>>,
    peak_kib: Mutex<u64>,
}

impl Fleet {
    /// Starts the workers; one more place stays empty until somebody wants it.
    pub async fn start(folder: &Path, common: &Common, postgres: u16) -> Arc<Self> {
        let (mut proxies, mut slots) = (Vec::new(), Vec::new());
        for index in 0..=WORKERS {
            let proxy = Proxy::start(postgres).await;
            let config = folder.join(format!("worker-{index}.toml"));
            std::fs::write(&config, common.worker(index, proxy.port())).expect("a configuration");
            proxies.push(proxy);
            let wanted = index < WORKERS;
            let log = PathBuf::new();
            slots.push(Slot { config, wanted, asked: false, child: None, log, start_at: Instant::now() });
        }
        let fleet = Arc::new(Self {
            folder: folder.to_owned(),
            proxies,
            slots: Mutex::new(slots),
            unasked: Mutex::default(),
            asked: Mutex::default(),
            peak_kib: Mutex::default(),
        });
        let weak = Arc::downgrade(&fleet);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(LOOK);
            while let Some(fleet) = weak.upgrade() {
                fleet.look();
                drop(fleet);
                ticks.tick().await;
            }
        });
        fleet
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().expect("the workers")
    }

    /// Notes who has ended and starts whom is wanted.
    fn look(&self) {
        for (index, slot) in self.slots().iter_mut().enumerate() {
            if let Some(child) = &mut slot.child {
                let Some(status) = child.try_wait().expect("its status") else {
                    let peak = &mut *self.peak_kib.lock().expect("the peak");
                    *peak = (*peak).max(resident_kib(child.id()));
                    continue;
                };
                if slot.asked {
                    self.asked.lock().expect("the ends").push((index, status));
                } else {
                    let line = format!("worker {index} (process {}) ended by itself: {status}", child.id());
                    self.unasked.lock().expect("the ends").push(line);
                }
                (slot.child, slot.asked) = (None, false);
                slot.start_at = Instant::now() + BACKOFF;
            }
            if slot.child.is_none() && slot.wanted && slot.start_at <= Instant::now() {
                slot.log = self.new_log(index);
                slot.child = Some(run(&slot.config, &slot.log));
            }
        }
    }

    fn new_log(&self, index: usize) -> PathBuf {
        let logs = std::fs::read_dir(&self.folder).expect("the folder").count();
        self.folder.join(format!("worker-{index}.{logs:04}.log"))
    }

    /// Where the worker serves HTTP, once it has said so.
    pub fn address(&self, index: usize) -> Option<String> {
        let log = std::fs::read_to_string(&self.slots()[index].log).ok()?;
        let (_, rest) = log.split_once("\"address\":\"")?;
        Some(rest.split_once('"')?.0.to_owned())
    }

    /// Sends a signal; one that ends the worker is noted as asked for. False where it does not run.
    pub fn signal(&self, index: usize, name: &str) -> bool {
        let mut slots = self.slots();
        let slot = &mut slots[index];
        let Some(child) = &slot.child else { return false };
        slot.asked |= ["KILL", "TERM"].contains(&name);
        signal(child.id(), name);
        true
    }

    /// Whether the place is to have a worker.
    pub fn want(&self, index: usize, wanted: bool) {
        self.slots()[index].wanted = wanted;
        if !wanted {
            self.signal(index, "TERM");
        }
    }

    pub fn pid(&self, index: usize) -> Option<u32> {
        self.slots()[index].child.as_ref().map(Child::id)
    }

    /// Waits until the process is gone. False if it outlives the bound.
    pub async fn gone(&self, index: usize, pid: u32, bound: Duration) -> bool {
        crate::within(bound, || std::future::ready(self.pid(index) != Some(pid))).await
    }

    /// Everyone goes on, whoever is stopped or missing.
    pub fn heal(&self) {
        for (index, proxy) in self.proxies.iter().enumerate() {
            proxy.switch(crate::proxy::Mode::Open);
            self.signal(index, "CONT");
            self.want(index, index < WORKERS);
        }
    }

    /// Asks all to end, on a calm sea. Answers what went wrong with that.
    pub async fn stop(&self) -> Vec<String> {
        self.asked.lock().expect("the ends").clear();
        for index in 0..=WORKERS {
            self.want(index, false);
        }
        let all_gone = || std::future::ready((0..=WORKERS).all(|index| self.pid(index).is_none()));
        let mut wrong = Vec::new();
        if !crate::within(Duration::from_secs(40), all_gone).await {
            wrong.push("a worker did not end within 40 s of SIGTERM, without any fault".to_owned());
        }
        let ends = std::mem::take(&mut *self.asked.lock().expect("the ends"));
        let bad = ends.into_iter().filter(|(_, status)| !status.success());
        wrong.extend(bad.map(|(index, status)| {
            format!("worker {index} did not stop cleanly without any fault: {status}")
        }));
        wrong
    }

    /// Puts so much beside what is in a spool that a few batches fill it. Its worker does not run.
    #[expect(clippy::disallowed_methods, reason = "the file is filled from outside")]
    pub fn fill_spool(&self, index: usize) {
        let mut spool = SqliteConnection::establish(&self.spool(index).to_string_lossy()).expect("a spool");
        let (most, left) = ((Spools::Small as u32) << 8, 32); // pages of 4 KiB
        let filled = spool.batch_execute(&format!(
            "create table if not exists ballast (bytes blob); \
             insert into ballast select zeroblob(({most} - {left} - page_count) * 4096) from pragma_page_count \
             where page_count < {most} - {left}"
        ));
        filled.expect("nobody else has it");
    }

    fn spool(&self, index: usize) -> PathBuf {
        spool(&self.folder, index)
    }

    /// What still waits in the workers' spools although the database has everything, after they have ended.
    pub fn left_in_spools(&self) -> Vec<String> {
        let configs: Vec<PathBuf> = self.slots().iter().map(|slot| slot.config.clone()).collect();
        let spooled = |index: &usize| *index < WORKERS || self.spool(*index).exists();
        let left =
            configs.iter().enumerate().filter(|(index, _)| spooled(index)).filter_map(|(index, config)| {
                let output = command(config).args(["drain", "--json"]).output().expect("the command runs");
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
                let clean = output.status.success() && text(&output.stdout) == "[]";
                (!clean).then(|| {
                    format!("drain of worker {index}: {} {}", text(&output.stdout), text(&output.stderr))
                })
            });
        left.collect()
    }

    /// Most memory that a worker has held.
    pub fn peak_mib(&self) -> u64 {
        *self.peak_kib.lock().expect("the peak") >> 10
    }
}

fn run(config: &Path, log: &Path) -> Child {
    let log = std::fs::File::create(log).expect("a log");
    let mut command = command(config);
    command.arg("run").stdout(Stdio::null()).stderr(log);
    spawn(command)
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for slot in self.slots().iter_mut() {
            if let Some(mut child) = slot.child.take() {
                let _ = (child.kill(), child.wait());
            }
        }
    }
}

//! Servers of a test's own, which it may kill: one Kafka broker, one PostgreSQL cluster, each with its folder and ports, which
//! stay the same when it is started again. The programs are those that `scripts/services run` names. It stands on its own, so
//! that a test which shares no code with the product can use it too.
//!
//! What must stay true: they die with the test's process, however that ends, and leave no file behind but when it is killed.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest wait for a server to answer or to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(50);

#[expect(clippy::disallowed_methods, reason = "scripts/services says where the servers' programs are")]
fn program(variable: &str) -> PathBuf {
    let found = std::env::var_os(variable);
    found.map(PathBuf::from).unwrap_or_else(|| {
        panic!(
            "{variable} is not set: run this test under `scripts/services run --`, which names the programs"
        )
    })
}

/// What is asked of the thread that starts processes, and where the answer goes.
type Request = (Command, SyncSender<std::io::Result<Child>>);

/// Starts a process that dies with ours. The kernel ties it to the thread that starts it, hence one that never ends.
pub fn spawn(command: Command) -> Child {
    static STARTER: OnceLock<Mutex<SyncSender<Request>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (ask, asked) = sync_channel::<Request>(8);
        std::thread::spawn(move || {
            for (mut command, answer) in asked {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(ask)
    });
    let (answer, answered) = sync_channel(1);
    starter.lock().expect("the starter").send((command, answer)).expect("the starter lives");
    answered.recv().expect("an answer").expect("the process starts")
}

/// `program` with its life tied to whoever starts it; to be given to [`spawn`].
pub fn tied(signal: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--pdeathsig={signal}")).arg("--").arg(program).stdin(Stdio::null());
    command
}

/// Sends a signal by name: TERM, KILL, STOP, CONT, QUIT. A process that is gone already is no error.
pub fn signal(pid: u32, name: &str) {
    let status =
        Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status();
    status.expect("kill runs");
}

/// Waits until the process has ended.
pub async fn ended(child: &mut Child) -> std::process::ExitStatus {
    let start = Instant::now();
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        if let Some(status) = child.try_wait().expect("its status") {
            return status;
        }
        assert!(start.elapsed() < PATIENCE, "process {} does not end", child.id());
        ticks.tick().await;
    }
}

/// A port where nobody listens, below those that Linux gives to outgoing connections: it is still free at the next start.
pub fn free_port() -> u16 {
    loop {
        let random = uuid::Uuid::new_v4().as_u128() % 9_000;
        let port = 11_000 + u16::try_from(random).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn folder(name: &str) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix(&format!("ledgerline-{name}-")).tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
    folder
}

fn log(folder: &Path) -> std::fs::File {
    std::fs::File::options().create(true).append(true).open(folder.join("log")).expect("a log file")
}

fn must(command: &mut Command, what: &str) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{what}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}\n{text}", output.status);
}

/// The last lines of a server's log.
fn tail(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// A PostgreSQL cluster: superuser `postgres`, no passwords, few connections, careless about power cuts.
pub struct Postgres {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Postgres {
    pub async fn start() -> Self {
        let (folder, port) = (folder("postgres"), free_port());
        let data = folder.path().join("data");
        let mut own = vec![];
        if let Some((user, group)) = other_user() {
            chown(folder.path(), Some(user), Some(group)).expect("the folder is handed over");
            own = unprivileged(user, group);
        }
        let initdb = program("LEDGERLINE_TEST_PG_BIN").join("initdb");
        let mut command = Command::new("setpriv");
        command.args(&own).arg("--").arg(initdb).arg("-D").arg(&data).current_dir(folder.path());
        must(
            command.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]),
            "initdb",
        );
        let mut config =
            std::fs::File::options().append(true).open(data.join("postgresql.conf")).expect("its settings");
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nmax_connections = 60\n\
             fsync = off\ntimezone = 'UTC'\nlog_timezone = 'UTC'\nlc_messages = 'C'\n",
            folder.path().display()
        );
        config.write_all(settings.as_bytes()).expect("its settings are written");
        let mut postgres = Self { folder, port, child: None };
        postgres.start_again().await;
        postgres
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// URL of a superuser.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Starts it on its port and data, and waits until it answers. Nothing happens if it runs.
    pub async fn start_again(&mut self) {
        if self.is_running() {
            return;
        }
        let server = program("LEDGERLINE_TEST_PG_BIN").join("postgres");
        let mut command = match other_user() {
            Some((user, group)) => {
                // Two steps: a change of user forgets the tie.
                let mut command = Command::new("setpriv");
                command.args(unprivileged(user, group)).args(["--", "setpriv", "--pdeathsig=QUIT", "--"]);
                command.arg(server).stdin(Stdio::null());
                command
            }
            None => tied("QUIT", &server),
        };
        command.arg("-D").arg(self.folder.path().join("data")).current_dir(self.folder.path());
        command.stdout(log(self.folder.path())).stderr(log(self.folder.path()));
        self.child = Some(spawn(command));
        let start = Instant::now();
        let mut ticks = tokio::time::interval(LOOK);
        while !self.answers() {
            let lives = self.is_running() && start.elapsed() < PATIENCE;
            assert!(lives, "PostgreSQL does not start:\n{}", tail(self.folder.path()));
            ticks.tick().await;
        }
    }

    /// The line that `pg_ctl` waits for as well, in a file that is of this start.
    fn answers(&self) -> bool {
        let text =
            std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
        let pid = self.child.as_ref().map(|child| child.id().to_string());
        text.lines().next() == pid.as_deref() && text.lines().any(|line| line.trim() == "ready")
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("its status").is_none())
    }

    /// Stops all its processes where they are, or lets them go on: meanwhile the kernel accepts connections for it, and
    /// nobody answers.
    pub fn freeze(&self, frozen: bool) {
        let name = if frozen { "STOP" } else { "CONT" };
        let Some(child) = &self.child else { return };
        signal(child.id(), name); // first: it makes no further processes
        let pid = child.id().to_string();
        let status = Command::new("pkill").args([&format!("-{name}"), "-P", &pid]).status();
        status.expect("pkill runs");
    }

    /// Ends it without a checkpoint, as a crash would: every session is cut, the next start recovers from the log.
    pub async fn stop_immediate(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), "QUIT");
            ended(&mut child).await;
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), "QUIT"); // it has shared memory to give back
            let _ = child.wait();
        }
    }
}

/// PostgreSQL refuses to run as root: the user and group to run as, where we are root.
pub fn other_user() -> Option<(u32, u32)> {
    let ask = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().expect("id runs");
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
    };
    if ask(&["-u"]) != Some(0) {
        return None;
    }
    let name = ["postgres", "nobody"].into_iter().find(|name| ask(&["-u", name]).is_some()).expect("a user");
    Some((ask(&["-u", name])?, ask(&["-g", name])?))
}

pub fn unprivileged(user: u32, group: u32) -> Vec<String> {
    vec![format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]
}

/// One Kafka node, broker and controller in one process, configured like that of `scripts/services`.
pub struct Kafka {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Kafka {
    pub async fn start() -> Self {
        let (folder, port, controller) = (folder("kafka"), free_port(), free_port());
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka");
        let mut config =
            std::fs::read_to_string(scripts.join("server.properties")).expect("the broker's settings");
        config += &format!(
            "listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller}\nlog.dirs={}\n\
             # A killed broker may come back as soon as its session is over.\n\
             broker.session.timeout.ms=2000\nbroker.heartbeat.interval.ms=500\n",
            folder.path().join("data").display()
        );
        let file = folder.path().join("server.properties");
        std::fs::write(&file, config).expect("the settings are written");
        std::fs::create_dir(folder.path().join("tmp")).expect("a folder");
        let mut kafka = Self { folder, port, child: None };
        let id = uuid::Uuid::new_v4().simple().to_string();
        let java = program("LEDGERLINE_TEST_JAVA");
        let mut format = Command::new(java);
        format.args(kafka.java()).args(["kafka.tools.StorageTool", "format", "--standalone", "-t"]);
        must(format.arg(&id[..22]).arg("-c").arg(&file), "the broker's folder is prepared");
        kafka.start_again().await;
        kafka
    }

    fn java(&self) -> Vec<String> {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka");
        let home = program("LEDGERLINE_TEST_KAFKA_HOME");
        let small = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1"];
        let mut arguments: Vec<String> = small.into_iter().map(str::to_owned).collect();
        arguments.push(format!("-Djava.io.tmpdir={}", self.folder.path().join("tmp").display()));
        arguments.push(format!("-Dlog4j2.configurationFile={}", scripts.join("log4j2.properties").display()));
        arguments.extend(["-cp".to_owned(), format!("{}/*", home.display())]);
        arguments
    }

    /// Its address.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it on its ports and data, and waits until it answers. Nothing happens if it runs.
    pub async fn start_again(&mut self) {
        if self.is_running() {
            return;
        }
        let mut command = tied("KILL", &program("LEDGERLINE_TEST_JAVA"));
        command.args(self.java()).arg("kafka.Kafka").arg(self.folder.path().join("server.properties"));
        command.stdout(log(self.folder.path())).stderr(log(self.folder.path()));
        self.child = Some(spawn(command));
        let start = Instant::now();
        let mut ticks = tokio::time::interval(LOOK);
        while !self.answers().await {
            let lives = self.is_running() && start.elapsed() < PATIENCE;
            assert!(lives, "Kafka does not start:\n{}", tail(self.folder.path()));
            ticks.tick().await;
        }
    }

    /// Asks for the versions of its API (key 18, correlation id 7): it listens long before it serves, and answers when it serves.
    async fn answers(&self) -> bool {
        let ask = async {
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 255, 255]).await?;
            let mut answer = [0; 8];
            stream.read_exact(&mut answer).await?;
            std::io::Result::Ok(answer[4..] == [0, 0, 0, 7])
        };
        matches!(tokio::time::timeout(Duration::from_secs(5), ask).await, Ok(Ok(true)))
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("its status").is_none())
    }

    /// kill -9.
    pub async fn kill(&mut self) {
        self.end("KILL").await;
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self) {
        self.end("TERM").await;
    }

    async fn end(&mut self, name: &str) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), name);
            ended(&mut child).await;
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

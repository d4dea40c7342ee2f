//! A PostgreSQL and a Kafka of a test's own, with TLS, which the shared ones do not have. They end with the test.
//!
//! What must stay true: nothing listens but on 127.0.0.1; every password is made here.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::certificates::Identity;
use super::servers::{free_port, other_user, spawn, unprivileged};
use super::{eventually, service};

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its mode");
}

fn must(command: &mut Command) {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A server that is killed with the test, also where the test itself is.
fn server(program: &str, user: &[String], log: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(user).args(["--pdeathsig", "KILL", program]).stdin(Stdio::null());
    let log = std::fs::File::create(log).expect("a log");
    command.stdout(log.try_clone().expect("a log")).stderr(log);
    command
}

/// A PostgreSQL whose users have to know their password.
pub struct Postgres {
    folder: tempfile::TempDir,
    user: Vec<String>,
    port: u16,
    server: Option<Child>,
}

/// The superuser's password.
pub const PASSWORD: &str = "right-password";

impl Postgres {
    /// A new data folder; nothing runs yet.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        write(&folder.path().join("password"), PASSWORD, 0o644);
        let user = Self::give_away(folder.path());
        let initdb = format!("{}/initdb", service("LEDGERLINE_TEST_PG_BIN"));
        must(
            Command::new("setpriv")
                .args(&user)
                .arg(initdb)
                .args([
                    "-U",
                    "postgres",
                    "-A",
                    "scram-sha-256",
                    "-E",
                    "UTF8",
                    "--no-locale",
                    "--no-sync",
                    "-D",
                ])
                .arg(&data)
                .arg("--pwfile")
                .arg(folder.path().join("password"))
                .current_dir(folder.path()),
        );
        Self { folder, user, port: free_port(), server: None }
    }

    /// PostgreSQL refuses to run as root: then its folder belongs to another user, who runs it.
    fn give_away(folder: &Path) -> Vec<String> {
        let Some((user, group)) = other_user() else {
            return vec!["--no-new-privs".into()];
        };
        must(Command::new("chown").args(["-R", &format!("{user}:{group}")]).arg(folder));
        unprivileged(user, group)
    }

    /// Starts it with this certificate; without one it answers that it has no TLS.
    pub async fn start(&mut self, identity: Option<&Identity>) {
        self.stop();
        let path = self.folder.path();
        let mut settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = ''\nfsync = off\nlc_messages = 'C'\n",
            self.port
        );
        if let Some(Identity { certificate, key }) = identity {
            write(&path.join("data/server.crt"), certificate, 0o600);
            write(&path.join("data/server.key"), key, 0o600);
            settings += "ssl = on\n";
        }
        write(&path.join("data/postgresql.auto.conf"), &settings, 0o600);
        Self::give_away(path);
        let postgres = format!("{}/postgres", service("LEDGERLINE_TEST_PG_BIN"));
        let mut command = server(&postgres, &self.user, &path.join("log"));
        command.arg("-D").arg(path.join("data")).current_dir(path);
        self.server = Some(spawn(command));
        let state = path.join("data/postmaster.pid");
        eventually("PostgreSQL to answer", || async {
            std::fs::read_to_string(&state).ok()?.contains("\nready").then_some(())
        })
        .await;
    }

    /// The URL of its superuser.
    pub fn url(&self, host: &str, password: &str) -> String {
        format!("postgres://postgres:{password}@{host}:{}/postgres", self.port)
    }

    /// What it wrote to its log since it was started last.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("its log")
    }

    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // QUIT gives back the shared memory; setpriv has become the server itself.
            must(Command::new("kill").arg("-QUIT").arg(server.id().to_string()));
            server.wait().expect("it ends");
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One Kafka node with a listener for each of its faces.
pub struct Kafka {
    server: Child,
    /// `localhost:port` of each listener, in the order that they were given.
    pub listeners: Vec<String>,
    /// `host:port` of the listener without TLS.
    pub plain: String,
    _folder: tempfile::TempDir,
}

/// A listener with TLS.
pub struct Listener<'a> {
    pub identity: &'a Identity,
    /// User and password, where a client has to say who it is.
    pub user: Option<(&'a str, &'a str)>,
}

impl Kafka {
    pub async fn start(listeners: &[Listener<'_>]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports: Vec<u16> = listeners.iter().map(|_| free_port()).collect();
        let (plain, controller) = (free_port(), free_port());
        let path = folder.path();
        let file = path.join("server.properties");
        write(&file, &properties(path, listeners, &ports, plain, controller), 0o600);
        let java = service("LEDGERLINE_TEST_JAVA");
        let classes = format!("{}/*", service("LEDGERLINE_TEST_KAFKA_HOME"));
        let id = "AAAAAAAAAAAAAAAAAAAAAQ";
        let mut format = Command::new(&java);
        format.args(["-cp", &classes, "kafka.tools.StorageTool", "format", "--standalone", "-t", id, "-c"]);
        must(format.arg(&file));
        let memory = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:-UsePerfData"];
        let mut command = server(&java, &[], &path.join("log"));
        command.args(memory).args(["-cp", &classes, "kafka.Kafka"]).arg(&file);
        let brokers = format!("127.0.0.1:{plain}");
        let kafka = Self {
            plain: brokers.clone(),
            server: spawn(command),
            listeners: ports.iter().map(|port| format!("localhost:{port}")).collect(),
            _folder: folder,
        };
        eventually("Kafka to answer", || {
            let brokers = brokers.clone();
            async move { tokio::task::spawn_blocking(move || answers(&brokers)).await.expect("an answer") }
        })
        .await;
        kafka
    }
}

fn answers(brokers: &str) -> Option<()> {
    let mut config = ClientConfig::new();
    let client: BaseConsumer = config.set("bootstrap.servers", brokers).create().expect("a client");
    client.fetch_metadata(None, Duration::from_secs(2)).ok().map(drop)
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn properties(
    folder: &Path,
    listeners: &[Listener<'_>],
    ports: &[u16],
    plain: u16,
    controller: u16,
) -> String {
    let common = include_str!("../../scripts/kafka/server.properties");
    let mut text: String = common
        .lines()
        .filter(|line| !line.starts_with("listener.security"))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut listen = format!("PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller}");
    let mut advertised = format!("PLAINTEXT://127.0.0.1:{plain}");
    let mut map = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    for (index, (listener, port)) in listeners.iter().zip(ports).enumerate() {
        listen += &format!(",FACE{index}://127.0.0.1:{port}");
        advertised += &format!(",FACE{index}://localhost:{port}");
        map += &format!(",FACE{index}:{}", if listener.user.is_some() { "SASL_SSL" } else { "SSL" });
        let store = folder.join(format!("face{index}.pem"));
        write(&store, &format!("{}{}", listener.identity.key, listener.identity.certificate), 0o600);
        let prefix = format!("listener.name.face{index}");
        text +=
            &format!("{prefix}.ssl.keystore.type=PEM\n{prefix}.ssl.keystore.location={}\n", store.display());
        if let Some((user, password)) = listener.user {
            let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
            text += &format!("{prefix}.sasl.enabled.mechanisms=PLAIN\n");
            text +=
                &format!("{prefix}.plain.sasl.jaas.config={module} required user_{user}=\"{password}\";\n");
        }
    }
    text += &format!("listeners={listen}\nadvertised.listeners={advertised}\n");
    text += &format!("listener.security.protocol.map={map}\n");
    text += &format!("controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n");
    text + &format!("log.dirs={}\n", folder.join("data").display())
}

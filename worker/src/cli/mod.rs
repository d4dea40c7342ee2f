//! The commands. Each has a file with its arguments and one function; this is the list of them, and where their endings become
//! exit codes.

mod attended;
mod backfill;
mod bench;
mod compact;
mod db;
mod demo;
mod dlq;
mod doctor;
mod drain;
mod freshness;
mod games;
mod lag;
mod letters;
mod migrate;
mod offsets;
pub(crate) mod operator;
mod pause;
mod process;
mod publish;
mod ranges;
mod replay;
mod run;
mod schema;
mod shadow;
mod signals;
pub(crate) mod table;
mod verify;
mod workflows;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;

/// How a command ended, as the process tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// 0: it did what it was asked.
    Done,
    /// 1: it could not.
    Failed,
    /// 2: the configuration or the arguments cannot be used.
    BadConfiguration,
    /// 3: `verify` found a violation.
    Violation,
    /// 4: the Kafka client is dead.
    FatalClient,
}

impl Ending {
    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::BadConfiguration => 2,
            Self::Violation => 3,
            Self::FatalClient => 4,
        }
    }
}

/// Moves events from Kafka into PostgreSQL, each exactly once, and accounts for every offset.
#[derive(Debug, Parser)]
#[command(name = "ledgerline", version)]
struct Cli {
    /// Configuration file (TOML). Environment variables such as LEDGERLINE_KAFKA__BROKERS come over it.
    #[arg(long, global = true, env = "LEDGERLINE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Consume the configured topics into the database until told to stop.
    Run(run::RunArgs),
    /// Show the whole line at work, with nothing installed: an in-process broker, SQLite, a simulated odds day.
    Demo(demo::DemoArgs),
    /// Check events in files against the contracts and publish them.
    Publish(publish::PublishArgs),
    /// Change or show the version of the database's schema.
    Migrate(migrate::MigrateArgs),
    /// Prove that every offset is accounted for, and nothing applied twice.
    Verify(verify::VerifyArgs),
    /// Show where every partition stands, and leave the named halted states.
    Offsets(offsets::OffsetsArgs),
    /// Pause the live consumption of a topic, or of one of its partitions; workers notice within seconds.
    Pause(pause::SwitchArgs),
    /// Take a pause back.
    Resume(pause::SwitchArgs),
    /// Show how far every partition is behind, in records and in seconds.
    Lag(lag::LagArgs),
    /// Show how old the newest odds are, per sport, league and book.
    Freshness(freshness::FreshnessArgs),
    /// Ask everything that a worker will need, and say what to do about what it will not get.
    Doctor(doctor::DoctorArgs),
    /// Move what waits in a spool into the database: for a spool whose worker does not run any more.
    Drain(drain::DrainArgs),
    /// Look at dead letters, apply them again, give them up.
    Dlq(dlq::DlqArgs),
    /// Read a part of a topic again, beside live consumption; the same command goes on where it was interrupted.
    Replay(replay::ReplayArgs),
    /// Store the events of files; the same command goes on where it was interrupted.
    Backfill(backfill::BackfillArgs),
    /// Look at replays and backfills, call them off, put them back in line.
    Workflows(workflows::WorkflowsArgs),
    /// List games, and make one of two that are one.
    Games(games::GamesArgs),
    /// Keep of each run of equal quotes the first and the last; no change of a price or line is lost.
    Compact(compact::CompactArgs),
    /// Delete old quotes.
    Retention(compact::RetentionArgs),
    /// Back up and restore the database, show its health, look after it.
    Db(db::DbArgs),
    /// Measure: rows a second beside the limit of the database, and the whole line from Kafka to the commit.
    Bench(bench::BenchArgs),
    /// Print the contracts (JSON Schema, samples, AsyncAPI), or compare them with earlier ones.
    Schema(schema::SchemaArgs),
}

impl Command {
    /// Whether it makes the database that it works on, or asks none. All others want one that is there.
    fn makes_its_database(&self) -> bool {
        match self {
            Self::Run(_) | Self::Demo(_) | Self::Bench(_) | Self::Publish(_) | Self::Schema(_) => true,
            Self::Doctor(_) => true, // it says so itself, among all else
            Self::Migrate(args) => args.is_up(),
            Self::Db(args) => args.is_restore(),
            Self::Verify(_) | Self::Lag(_) | Self::Freshness(_) | Self::Games(_) => false,
            Self::Offsets(_) | Self::Pause(_) | Self::Resume(_) | Self::Dlq(_) | Self::Drain(_) => false,
            Self::Replay(_) | Self::Backfill(_) | Self::Workflows(_) => false,
            Self::Compact(_) | Self::Retention(_) => false,
        }
    }
}

/// Runs the command that the arguments name. Errors go to standard error, once, with their causes.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse(); // answers bad arguments itself, with code 2
    let ending = match Config::load(cli.config.as_deref()) {
        Ok(config) => execute(cli.command, cli.config.as_deref(), &config),
        Err(error) => {
            operator::tell(format_args!("error: {}", operator::in_words(&error)));
            Ending::BadConfiguration
        }
    };
    ExitCode::from(ending.code())
}

fn execute(command: Command, file: Option<&Path>, config: &Config) -> Ending {
    if !command.makes_its_database()
        && let Err(error) = operator::database_is_there(config, file)
    {
        return failed(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            operator::tell(format_args!("error: cannot start the runtime: {error}"));
            return Ending::Failed;
        }
    };
    let result = runtime.block_on(async {
        match command {
            Command::Run(args) => run::run(config, args).await,
            Command::Demo(args) => demo::demo(config, args).await.map(|()| Ending::Done),
            Command::Publish(args) => publish::publish(config, args).await.map(|()| Ending::Done),
            Command::Migrate(args) => migrate::migrate(config, args).await.map(|()| Ending::Done),
            Command::Verify(args) => verify::verify(config, args).await,
            Command::Offsets(args) => offsets::offsets(config, args).await.map(|()| Ending::Done),
            Command::Pause(args) => pause::pause(config, args).await.map(|()| Ending::Done),
            Command::Resume(args) => pause::resume(config, args).await.map(|()| Ending::Done),
            Command::Lag(args) => lag::lag(config, args).await,
            Command::Freshness(args) => freshness::freshness(config, args).await.map(|()| Ending::Done),
            Command::Doctor(args) => doctor::doctor(config, file, args).await,
            Command::Drain(args) => drain::drain(config, args).await,
            Command::Dlq(args) => dlq::dlq(config, args).await.map(|()| Ending::Done),
            Command::Replay(args) => replay::replay(config, args).await,
            Command::Backfill(args) => backfill::backfill(config, args).await,
            Command::Workflows(args) => workflows::workflows(config, args).await.map(|()| Ending::Done),
            Command::Games(args) => games::games(config, args).await.map(|()| Ending::Done),
            Command::Bench(args) => bench::bench(config, file, args).await.map(|()| Ending::Done),
            Command::Compact(args) => compact::compact(config, args).await.map(|()| Ending::Done),
            Command::Retention(args) => compact::retention(config, args).await.map(|()| Ending::Done),
            Command::Db(args) => db::db(config, args).await,
            Command::Schema(args) => schema::schema(config, args),
        }
    });
    // A task that hangs on a dead server must not keep the process: what it does is decided by the database.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| failed(&error))
}

fn failed(error: &anyhow::Error) -> Ending {
    let ending = match error.downcast_ref() {
        Some(operator::Ended::Unread) => return Ending::Done,
        Some(operator::Ended::BadArguments(_)) => Ending::BadConfiguration,
        None => Ending::Failed,
    };
    operator::tell(format_args!("error: {}", operator::in_words(error)));
    ending
}

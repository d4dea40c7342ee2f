//! `ledgerline schema`: what the authors of scrapers need: the JSON Schema of a kind of event, valid events of it, one document
//! of all topics, and whether the contracts still take what earlier ones took.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use ledgerline_schema::compatibility;
use ledgerline_schema::events::{EventKind, asyncapi};
use serde_json::Value;

use super::Ending;
use super::operator::Ended;
use crate::config::Config;

/// `ledgerline schema`
#[derive(Debug, Clone, clap::Args)]
pub struct SchemaArgs {
    /// What to print.
    #[command(subcommand)]
    pub what: What,
}

/// What to print.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum What {
    /// The JSON Schema of a whole event.
    Json {
        /// The kind: `odds`, or `odds.v1`.
        kind: String,
    },
    /// Valid events, one per line, as `publish` takes them.
    Samples {
        /// The kind: `odds`, or `odds.v1`.
        kind: String,
    },
    /// One AsyncAPI 3 document of all topics, as the configuration names them.
    Asyncapi,
    /// Compare the contracts with earlier ones: exit code 1, and a line each, for what would refuse or pass over an event that
    /// was good before.
    Check {
        /// Folder of earlier contracts: `*.json`, each as `schema json` printed it.
        #[arg(long, value_name = "DIR")]
        against: PathBuf,
    },
}

/// Prints to standard output.
///
/// # Errors
/// An unknown kind, with those that there are; a folder that holds no contract.
pub fn schema(config: &Config, args: SchemaArgs) -> anyhow::Result<Ending> {
    match print(&mut std::io::stdout().lock(), config, &args.what) {
        Err(error) if is_closed(&error) => Ok(Ending::Done), // whoever reads has seen enough
        printed => printed,
    }
}

fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn print(out: &mut impl Write, config: &Config, what: &What) -> anyhow::Result<Ending> {
    match what {
        What::Json { kind } => {
            let schema = self::kind(kind)?.json_schema();
            writeln!(out, "{schema:#}").context("cannot print the schema")?;
        }
        What::Samples { kind } => {
            for sample in self::kind(kind)?.samples() {
                writeln!(out, "{sample}").context("cannot print the samples")?;
            }
        }
        What::Asyncapi => {
            let document = asyncapi::document(|kind| config.topic(kind).name);
            writeln!(out, "{document:#}").context("cannot print the document")?;
        }
        What::Check { against } => return check(out, against),
    }
    Ok(Ending::Done)
}

/// Compares each contract of the folder with ours of the same type.
fn check(out: &mut impl Write, folder: &Path) -> anyhow::Result<Ending> {
    let mut broken = 0;
    for file in contracts(folder)? {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let earlier: Value =
            serde_json::from_str(&text).with_context(|| format!("{}: not JSON", file.display()))?;
        let event_type = earlier.pointer("/properties/type/const").and_then(Value::as_str);
        let event_type =
            event_type.with_context(|| format!("{}: not as `schema json` prints it", file.display()))?;
        let breaks = match EventKind::of_type(event_type) {
            Some(kind) => compatibility::breaks(&earlier, &kind.json_schema()),
            None => vec!["no kind of event has this type any more".into()],
        };
        for line in &breaks {
            writeln!(out, "{event_type}: {line}").context("cannot print what was found")?;
        }
        broken += breaks.len();
    }
    Ok(if broken == 0 { Ending::Done } else { Ending::Failed })
}

/// The `*.json` of a folder, in the order of their names.
fn contracts(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read folder {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read folder {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "{}: holds no *.json", folder.display());
    Ok(files)
}

fn kind(name: &str) -> anyhow::Result<EventKind> {
    let Some(kind) = EventKind::of_name(name) else {
        let names: Vec<_> = EventKind::ALL.iter().map(|kind| kind.name()).collect();
        let text = format!("{name:?} is no kind of event; there are {}", names.join(", "));
        return Err(Ended::BadArguments(text).into());
    };
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(what: What) -> String {
        let mut out = Vec::new();
        assert_eq!(print(&mut out, &Config::default(), &what).unwrap(), Ending::Done);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_kind_has_a_schema_and_samples() {
        for kind in EventKind::ALL {
            let schema = printed(What::Json { kind: kind.event_type().into() });
            let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
            assert_eq!(schema["properties"]["type"]["const"], kind.event_type());
            let samples = printed(What::Samples { kind: kind.name().into() });
            assert_eq!(samples.lines().count(), kind.samples().len());
        }
    }

    #[test]
    fn an_unknown_kind_is_told_the_known_ones() {
        let error =
            print(&mut Vec::new(), &Config::default(), &What::Json { kind: "odd".into() }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"odd\" is no kind of event; there are games, odds, articles, sharp-signals, betting-analyses"
        );
    }

    /// The contracts as files, one of them changed.
    fn folder(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut odds = EventKind::Odds.json_schema();
        change(&mut odds);
        std::fs::write(folder.path().join("odds.json"), odds.to_string()).unwrap();
        std::fs::write(folder.path().join("games.json"), EventKind::Game.json_schema().to_string()).unwrap();
        std::fs::write(folder.path().join("README.md"), "no contract").unwrap();
        folder
    }

    fn checked(folder: &Path) -> (Ending, String) {
        let mut out = Vec::new();
        let what = What::Check { against: folder.to_owned() };
        let ending = print(&mut out, &Config::default(), &what).unwrap();
        (ending, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_contract_that_takes_less_than_an_earlier_one_is_told() {
        let same = folder(|_| {});
        assert_eq!(checked(same.path()), (Ending::Done, String::new()));
        let earlier = folder(|odds| odds["properties"]["data"]["properties"]["old"] = true.into());
        assert_eq!(checked(earlier.path()), (Ending::Failed, "odds.v1: data.old: is gone\n".into()));
        let unknown = folder(|odds| odds["properties"]["type"]["const"] = "weather.v1".into());
        let (ending, said) = checked(unknown.path());
        assert_eq!((ending, said.lines().count()), (Ending::Failed, 1), "{said}");
        std::fs::write(same.path().join("other.json"), "{}").unwrap();
        let what = What::Check { against: same.path().to_owned() };
        let error = print(&mut Vec::new(), &Config::default(), &what).unwrap_err();
        assert!(error.to_string().ends_with("other.json: not as `schema json` prints it"), "{error}");
    }
}

//! `ledgerline schema`: what the authors of scrapers need: the JSON Schema of a kind of event, and valid
//! events of it.

use std::io::Write;

use anyhow::{Context, bail};
use ledgerline_schema::events::EventKind;

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
}

/// Prints to standard output.
///
/// # Errors
/// An unknown kind, with those that there are.
pub fn schema(args: SchemaArgs) -> anyhow::Result<()> {
    match print(&mut std::io::stdout().lock(), &args.what) {
        Err(error) if is_closed(&error) => Ok(()), // whoever reads has seen enough
        printed => printed,
    }
}

fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn print(out: &mut impl Write, what: &What) -> anyhow::Result<()> {
    match what {
        What::Json { kind } => {
            let schema = self::kind(kind)?.json_schema();
            writeln!(out, "{schema:#}").context("cannot print the schema")
        }
        What::Samples { kind } => {
            for sample in self::kind(kind)?.samples() {
                writeln!(out, "{sample}").context("cannot print the samples")?;
            }
            Ok(())
        }
    }
}

fn kind(name: &str) -> anyhow::Result<EventKind> {
    let Some(kind) = EventKind::of_name(name) else {
        let names: Vec<_> = EventKind::ALL.iter().map(|kind| kind.name()).collect();
        bail!("{name:?} is no kind of event; there are {}", names.join(", "));
    };
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(what: What) -> String {
        let mut out = Vec::new();
        print(&mut out, &what).unwrap();
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
        let error = print(&mut Vec::new(), &What::Json { kind: "odd".into() }).unwrap_err();
        assert_eq!(error.to_string(), "\"odd\" is no kind of event; there are games, odds, articles");
    }
}

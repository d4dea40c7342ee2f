//! What the environment says: a variable for each key, the secrets among them, and who runs this process. Called by `Config::load`,
//! and the only place that reads the environment.
//!
//! What must stay true: a secret is taken as it is and comes over a file that holds it; a variable that is one of ours but for an
//! underscore is refused, because whoever set it believes that it is heeded.

use anyhow::bail;
use figment::Figment;
use figment::providers::Env;
use figment::value::{Uncased, UncasedStr};
use ledgerline_schema::events::EventKind;

use super::Config;

/// What the names of our environment variables start with.
const PREFIX: &str = "LEDGERLINE_";
/// Every section; each key lies in one.
const SECTIONS: [&str; 11] = [
    "kafka",
    "database",
    "store",
    "topics",
    "memory",
    "http",
    "log",
    "shutdown",
    "compaction",
    "retention",
    "workflows",
];
/// Sections inside of sections, beside the kinds in `topics`.
const INNER: [&str; 3] = ["pool", "batch", "dead_letters"];

/// A key that holds a secret: taken from the environment as it is, because a parser would turn `0123` into a number, and never
/// repeated in an error.
#[derive(Clone, Copy)]
pub(super) struct Secret {
    /// Its variable, after the prefix.
    variable: &'static str,
    pub(super) key: &'static str,
    /// What is set in the environment comes over a file that holds it, like every other key.
    forget_file: fn(&mut Config),
}

pub(super) const SECRETS: [Secret; 4] = [
    Secret {
        variable: "KAFKA__SASL_PASSWORD",
        key: "kafka.sasl_password",
        forget_file: |config| config.kafka.sasl_password_file = None,
    },
    Secret {
        variable: "DATABASE__URL",
        key: "database.url",
        forget_file: |config| config.database.url_file = None,
    },
    Secret {
        variable: "DATABASE__READ_URL",
        key: "database.read_url",
        forget_file: |config| config.database.read_url_file = None,
    },
    Secret {
        variable: "HTTP__TOKEN",
        key: "http.token",
        forget_file: |config| config.http.token_file = None,
    },
];

impl Secret {
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
    fn value(&self) -> Option<String> {
        std::env::var(format!("{PREFIX}{}", self.variable)).ok()
    }
}

/// Lays the variables over what there is.
pub(super) fn over(layers: Figment) -> anyhow::Result<Figment> {
    for (name, _) in Env::prefixed(PREFIX).iter() {
        if let Some(right) = respelled(name.as_str()) {
            let [given, right] = [name.as_str(), &right].map(|name| name.to_ascii_uppercase());
            bail!(
                "{PREFIX}{given}: two underscores stand between a section and what is in it: {PREFIX}{right}"
            );
        }
    }
    let is_secret = |key: &UncasedStr| SECRETS.iter().any(|secret| secret.variable == key);
    let ours = move |key: &UncasedStr| key.as_str().contains("__") && !is_secret(key);
    let mut layers = layers.merge(Env::prefixed(PREFIX).filter(ours).map(with_kind).split("__"));
    for secret in SECRETS {
        if let Some(value) = secret.value() {
            layers = layers.merge((secret.key, value));
        }
    }
    Ok(layers)
}

/// Lets secrets of the environment come over files.
pub(super) fn prefer_secrets(config: &mut Config) {
    for secret in SECRETS.iter().filter(|secret| secret.value().is_some()) {
        (secret.forget_file)(config);
    }
}

/// The right name of a variable that begins like a section and would be ignored; in small letters and without the prefix, as the
/// given one.
fn respelled(name: &str) -> Option<String> {
    if name.contains("__") || is_of_a_service(name) {
        return None;
    }
    let section = SECTIONS.iter().find(|section| begins(name, section))?;
    let (mut right, mut rest) = ((*section).to_owned(), &name[section.len() + 1..]);
    let kinds = EventKind::ALL.iter().map(|kind| kind.name().replace('-', "_"));
    let inner: Vec<String> = INNER.iter().map(|inner| (*inner).to_owned()).chain(kinds).collect();
    while let Some(inner) = inner.iter().find(|inner| begins(rest, inner)) {
        right += &format!("__{inner}");
        rest = &rest[inner.len() + 1..];
    }
    Some(format!("{right}__{rest}"))
}

/// Whether a name goes on after that word.
fn begins(name: &str, word: &str) -> bool {
    name.strip_prefix(word).is_some_and(|rest| rest.len() > 1 && rest.starts_with('_'))
}

/// Kubernetes tells every pod of the services around it: of one that is called `ledgerline-kafka` by `LEDGERLINE_KAFKA_PORT`,
/// `…_PORT_9092_TCP_ADDR`, `…_SERVICE_HOST`. Nobody has set them, and no key of ours ends or goes on like this.
fn is_of_a_service(name: &str) -> bool {
    name.ends_with("_port") || ["_port_", "_service_"].iter().any(|part| name.contains(part))
}

/// A shell takes no hyphen in a name: `TOPICS__SHARP_SIGNALS__NAME` is the kind `sharp-signals`.
fn with_kind(key: &UncasedStr) -> Uncased<'_> {
    let small = key.as_str().to_ascii_lowercase();
    let kind = EventKind::ALL.iter().map(|kind| kind.name()).find_map(|name| {
        let rest = small.strip_prefix("topics__")?.strip_prefix(&name.replace('-', "_"))?;
        Some(format!("topics__{name}{rest}")).filter(|_| name.contains('-') && rest.starts_with("__"))
    });
    match kind {
        Some(kind) => kind.into(),
        None => key.into(),
    }
}

/// Who runs this process, for the operators' trail: the login's name, else the number of the user.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
pub fn os_user() -> String {
    use std::os::unix::fs::MetadataExt;
    let named = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let numbered = || std::fs::metadata("/proc/self").map(|process| format!("uid {}", process.uid()));
    named
        .filter(|name| !name.trim().is_empty())
        .or_else(|| numbered().ok())
        .unwrap_or_else(|| "unknown".into())
}

#[cfg(test)]
mod tests {
    use figment::error::Kind;

    use super::*;

    #[test]
    fn every_section_is_listed() {
        let error = Figment::from(("no-such-section", 0)).extract::<Config>().expect_err("none of ours");
        let Kind::UnknownField(_, known) = error.kind else { panic!("{error}") };
        assert_eq!(known, SECTIONS);
    }

    #[test]
    fn what_would_be_ignored_gets_its_right_name() {
        let cases = [
            ("kafka_brokers", "kafka__brokers"),
            ("kafka_sasl_password", "kafka__sasl_password"),
            ("database_pool_size", "database__pool__size"),
            ("topics_odds_batch_rows", "topics__odds__batch__rows"),
            ("topics_sharp_signals_dead_letters_window", "topics__sharp_signals__dead_letters__window"),
        ];
        for (given, right) in cases {
            assert_eq!(respelled(given).as_deref(), Some(right));
        }
    }

    #[test]
    fn what_is_right_or_not_ours_is_left_alone() {
        let alone = [
            "config",
            "kafka__brokers",
            "test_kafka",
            "kafka",
            "kafkas_brokers",
            "port",
            "kafka_port",
            "kafka_port_9092_tcp_addr",
            "kafka_headless_service_host",
            "database_service_port_postgres",
        ];
        for name in alone {
            assert_eq!(respelled(name), None, "{name}");
        }
    }
}

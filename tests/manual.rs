//! The commands of the operations manual and of the runbooks: what somebody copies at three in the morning has to be a command of
//! the program, a key of the chart, or an object that the chart makes.
//!
//! What must stay true: every ```sh block is read; a release is called `ledgerline` there, and `lt` in the golden renders.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::chart::renders;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The manual and the runbooks: path and text.
fn pages() -> Vec<(String, String)> {
    let mut paths = vec![root().join("docs/OPERATIONS.md")];
    let runbooks = std::fs::read_dir(root().join("docs/runbooks")).expect("runbooks");
    paths.extend(runbooks.map(|entry| entry.expect("an entry").path()));
    paths.sort();
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), read(path))).collect()
}

/// The commands of a page's ```sh blocks: comments are gone, lines that go on are one.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let mut found = Vec::new();
    for block in blocks {
        let block = block.replace("\\\n", " ");
        let lines = block.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
        let commands = lines.flat_map(|line| line.split(" | "));
        let commands = commands.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        found.extend(commands.filter(|line| !line.is_empty() && !line.starts_with('#')));
    }
    found
}

/// The words of a command, without quotes.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for c in command.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().expect("a word").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What the chart is: its keys, and the names of what it makes for a release called `ledgerline`.
struct Chart {
    values: Value,
    objects: BTreeSet<String>,
}

impl Chart {
    fn read() -> Self {
        let values =
            serde_norway::from_str(&read(&root().join("helm/ledgerline/values.yaml"))).expect("YAML");
        let mut objects = BTreeSet::new();
        for object in renders().iter().flat_map(|render| &render.objects) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
            let name = text(&object["metadata"]["name"]).replace("lt-ledgerline", "ledgerline");
            objects.insert(format!("{}/{name}", text(&object["kind"])));
        }
        Self { values, objects }
    }

    /// What is wrong with a command; nothing with those of other programs.
    fn complaints(&self, command: &str) -> Vec<String> {
        let words = words(command);
        let mut complaints = Vec::new();
        match words.first().map(String::as_str) {
            Some("ledgerline") => complaints.extend(unknown_to_the_program(&words[1..])),
            Some("helm") => complaints.extend(self.unknown_keys(&words)),
            Some("kubectl") => {
                complaints.extend(self.unknown_objects(&words));
                let inner = words.iter().position(|word| word == "--").map(|at| &words[at + 1..]);
                match inner.and_then(<[String]>::split_first) {
                    Some((program, args)) if program == "ledgerline" => {
                        complaints.extend(unknown_to_the_program(args));
                    }
                    Some((program, _)) => complaints.push(format!("the image has no {program}")),
                    None => {}
                }
            }
            _ => {}
        }
        complaints
    }

    fn unknown_keys(&self, words: &[String]) -> Vec<String> {
        let given = words.windows(2).filter(|pair| pair[0].starts_with("--set"));
        let keys = given.filter_map(|pair| pair[1].split('=').next().map(str::to_owned));
        keys.filter(|key| !self.has(key)).map(|key| format!("values.yaml has no {key}")).collect()
    }

    fn has(&self, key: &str) -> bool {
        let step = |value: Option<&'_ Value>, part: &str| -> Option<Value> {
            value?.get(part.split('[').next().unwrap_or(part)).cloned()
        };
        key.split('.').try_fold(self.values.clone(), |value, part| step(Some(&value), part)).is_some()
    }

    /// `deployment/name`, as `kubectl` takes it, short kinds too.
    fn unknown_objects(&self, words: &[String]) -> Vec<String> {
        let kinds = [
            ("deploy/", "deployment/"),
            ("deployment/", "deployment/"),
            ("job/", "job/"),
            ("cronjob/", "cronjob/"),
            ("scaledobject/", "scaledobject/"),
            ("configmap/", "configmap/"),
            ("pdb/", "poddisruptionbudget/"),
        ];
        let mut unknown = Vec::new();
        for word in words {
            let word = word.strip_prefix("--from=").unwrap_or(word);
            let Some((short, long)) = kinds.iter().find(|(short, _)| word.starts_with(short)) else {
                continue;
            };
            let object = word.replacen(short, long, 1);
            if !self.objects.contains(&object) {
                unknown.push(format!("the chart makes no {object}"));
            }
        }
        unknown
    }
}

/// Arguments are read in order: what is unknown ends the program before it comes to `--help`.
fn unknown_to_the_program(args: &[String]) -> Option<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ledgerline"));
    let output = command.args(args).arg("--help").stdin(Stdio::null()).output().expect("it runs");
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_command_of_the_manual_and_the_runbooks_can_be_given() {
    let chart = Chart::read();
    let (mut read, mut wrong) = (0, Vec::new());
    for (page, text) in pages() {
        for command in commands(&text) {
            let complaints = chart.complaints(&command);
            wrong.extend(complaints.iter().map(|complaint| format!("{page}: {command}: {complaint}")));
            read += 1;
        }
    }
    assert!(read >= 20, "the manual shows {read} commands: are its blocks still marked sh?");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_command_that_cannot_be_given_is_noticed() {
    let chart = Chart::read();
    let deployment = chart.objects.iter().find(|object| object.starts_with("deployment/")).expect("a worker");
    for good in [
        "ledgerline lag --topic odds",
        "kubectl get pods",
        "helm upgrade ledgerline helm/ledgerline --set image.tag=1",
        &format!("kubectl exec {deployment} -- ledgerline doctor --json"),
    ] {
        assert_eq!(chart.complaints(good), Vec::<String>::new(), "{good}");
    }
    for bad in [
        "ledgerline lags",
        "ledgerline lag --topics odds",
        "ledgerline replay --topic odds --from yesterday",
        "helm upgrade ledgerline helm/ledgerline --set image.tagg=1",
        "kubectl exec deploy/ledgerline-nobody -- ledgerline doctor",
        &format!("kubectl exec {deployment} -- ledgerline docto"),
        &format!("kubectl exec {deployment} -- sh"),
    ] {
        assert_eq!(chart.complaints(bad).len(), 1, "{bad}");
    }
    assert_eq!(commands("```sh\na \\\n  b  # c\n# d\ne | f\n```\n```\ng\n```"), ["a b", "e", "f"]);
}

//! The first command that anybody types: it works alone, and its own numbers add up.

use std::process::Stdio;

use serde_json::Value;

use crate::support::worker::Setup;

/// Runs the demo with nothing but the binary; answers what it printed.
fn demo(folder: &str) -> Value {
    let setup = Setup::new("sqlite:unused.db", &[]);
    let mut command = crate::support::worker::command(&setup.file());
    command.args(["demo", "--seconds", "2", "--json", "--data-dir", folder]).stderr(Stdio::null());
    let output = command.output().expect("the demo runs");
    assert!(output.status.success(), "{}", output.status);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn the_demo_accounts_for_every_record_and_every_quote_and_keeps_what_it_is_told_to() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().display().to_string();
    for _ in 0..2 {
        let found = demo(&path);
        let number = |key: &str| found[key].as_i64().unwrap_or_else(|| panic!("{key} in {found}"));
        assert!(number("published") > 0, "{found}");
        let records = number("applied") + number("dead") + number("tombstone") + number("skipped");
        assert_eq!(number("published"), records, "{found}");
        assert_eq!(number("quotes"), number("inserted") + number("duplicate") + number("dead"), "{found}");
        assert_eq!((number("gaps"), number("overlaps")), (0, 0), "{found}");
    }
    assert!(folder.path().join("ledgerline.db").is_file());
}

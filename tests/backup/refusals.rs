//! Every kind of backup that is none, and every database that is no empty one: refused with the reason, and left as it is.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{filled, json_of, on, place, refused};
use crate::support::postgres::Database;
use crate::support::unique;
use crate::support::worker::Setup;

/// A backup of a SQLite database, and one that is made anew for each thing that is done to it.
struct Spoiled {
    setup: Setup,
    folder: tempfile::TempDir,
    good: PathBuf,
}

impl Spoiled {
    async fn new() -> (Database, Self) {
        let database = Database::sqlite();
        let setup = filled(&database).await;
        let folder = tempfile::tempdir().expect("a folder");
        let good = folder.path().join("good");
        setup.must(&["db", "backup", &good.display().to_string()]);
        (database, Self { setup, folder, good })
    }

    /// Restores a copy that somebody has been at. Nothing may come of it.
    fn with(&self, because: &str, spoil: impl FnOnce(&Path)) {
        let copy = self.folder.path().join(unique("copy"));
        std::fs::create_dir(&copy).expect("a folder");
        for entry in self.good.read_dir().expect("files") {
            let entry = entry.expect("a file");
            std::fs::copy(entry.path(), copy.join(entry.file_name())).expect("copied");
        }
        spoil(&copy);
        let nowhere = Database::sqlite();
        let output = on(&self.setup, &nowhere).run(&["db", "restore", &copy.display().to_string()]);
        refused(&output, 1, because);
        let file = PathBuf::from(nowhere.url.strip_prefix("sqlite:").expect("a file"));
        assert!(!file.exists(), "{because}: a database was made");
        assert_eq!(
            file.parent().expect("a folder").read_dir().expect("files").count(),
            0,
            "{because}: something is left"
        );
    }

    /// A manifest that says something else, with a checksum that holds.
    fn saying(&self, because: &str, change: impl FnOnce(&mut Value)) {
        self.with(because, |copy| {
            let path = copy.join("manifest.json");
            let mut manifest = json_of(&std::fs::read_to_string(&path).expect("read"));
            change(&mut manifest);
            std::fs::write(&path, manifest.to_string()).expect("written");
            let sum: String =
                Sha256::digest(manifest.to_string()).iter().map(|byte| format!("{byte:02x}")).collect();
            std::fs::write(copy.join("manifest.json.sha256"), format!("{sum}  manifest.json\n"))
                .expect("written");
        });
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_backup_is_refused_with_its_reason() {
    let (_database, spoiled) = Spoiled::new().await;
    let remove =
        |name: &'static str| move |copy: &Path| std::fs::remove_file(copy.join(name)).expect("removed");
    spoiled.with("no manifest.json: it is no backup, or one that was cut off", remove("manifest.json"));
    spoiled.with("cannot read", remove("manifest.json.sha256"));
    spoiled.with("manifest.json is not as it was written", |copy| flip(&copy.join("manifest.json"), 20));
    spoiled.with("database.sqlite is missing", remove("database.sqlite"));
    spoiled
        .with("database.sqlite is not as it was written", |copy| flip(&copy.join("database.sqlite"), 9_000));
    spoiled.with("bytes, and", |copy| {
        let file =
            std::fs::OpenOptions::new().write(true).open(copy.join("database.sqlite")).expect("a file");
        file.set_len(4_096).expect("cut off");
    });
    spoiled.saying("is of form 2, this program reads 1", |manifest| manifest["format"] = json!(2));
    spoiled.saying("schema is of version 999", |manifest| manifest["holds"]["schema"] = json!(999));
    spoiled.saying("this is a backup of postgres", |manifest| manifest["store"] = json!("postgres"));
    spoiled.saying("is no file's name", |manifest| {
        manifest["files"][0]["name"] = json!("../good/database.sqlite")
    });
    spoiled.saying("does not list database.sqlite", |manifest| manifest["files"] = json!([]));
    spoiled.saying("is no manifest", |manifest| manifest["holds"] = json!(null));
    spoiled.saying("odds: 7 rows, and 2 rows are there", |manifest| {
        let tables = manifest["holds"]["tables"].as_array_mut().expect("tables");
        tables.iter_mut().find(|table| table["name"] == "odds").expect("odds")["rows"] = json!(7);
    });
    let elsewhere = spoiled.setup.run(&["db", "restore", "/nowhere/backup"]);
    refused(&elsewhere, 1, "is not a folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_never_written_over() {
    let (database, spoiled) = Spoiled::new().await;
    let before = database.contents().await;
    let good = spoiled.good.display().to_string();
    refused(&spoiled.setup.run(&["db", "restore", &good]), 1, "and this one has schema_version, lineages");
    assert_eq!(database.contents().await, before);
    refused(&spoiled.setup.run(&["db", "backup", &good]), 2, "a backup is a new folder");
    let file = spoiled.folder.path().join("file");
    std::fs::write(&file, "mine").expect("written");
    refused(
        &spoiled.setup.run(&["db", "backup", &file.display().to_string()]),
        2,
        "a backup is a new folder",
    );
    let deep = spoiled.folder.path().join("not/there").display().to_string();
    refused(&spoiled.setup.run(&["db", "backup", &deep]), 1, "cannot make a folder beside");
    let other = spoiled.folder.path().join("other").display().to_string();
    refused(
        &spoiled.setup.run(&["db", "backup", &other, "--method", "copy"]),
        2,
        "--method is for PostgreSQL",
    );
    let empty = Setup::new("sqlite:/nowhere/at/all.db", &[]);
    refused(&empty.run(&["db", "backup", &other]), 1, "sqlite:/nowhere/at/all.db does not exist");
    let names =
        || spoiled.folder.path().read_dir().expect("files").map(|entry| entry.expect("a file").file_name());
    let mut left: Vec<_> = names().map(|name| name.into_string().expect("UTF-8")).collect();
    left.sort();
    assert_eq!(left, ["file", "good"], "nothing is left of a backup that failed");

    // A folder that is empty, and a database file that holds nothing of ours, are as good as none.
    std::fs::create_dir(&other).expect("a folder");
    spoiled.setup.must(&["db", "backup", &other]);
    let new = Database::sqlite();
    new.change("create table somebody_elses (id int); drop table somebody_elses").await;
    on(&spoiled.setup, &new).must(&["db", "restore", &other]);
    assert_eq!(new.contents().await, before);

    // A file is replaced as a whole, with whatever somebody else keeps in it.
    let shared = Database::sqlite();
    shared.change("create table somebody_elses (id int); insert into somebody_elses values (7)").await;
    refused(
        &on(&spoiled.setup, &shared).run(&["db", "restore", &other]),
        1,
        "and this one has somebody_elses; nothing was changed",
    );
    assert_eq!(shared.number_of("somebody_elses").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_empty_or_that_somebody_writes_into_is_refused() {
    let database = Database::postgres().await;
    let setup = filled(&database).await;
    let (_folder, backup) = place();
    setup.must(&["db", "backup", &backup, "--method", "copy"]);
    let before = database.contents().await;
    refused(&setup.run(&["db", "restore", &backup]), 1, "and this one has schema_version");
    assert_eq!(database.contents().await, before);
    let file = Database::sqlite();
    refused(&on(&setup, &file).run(&["db", "restore", &backup]), 1, "database.url names sqlite");

    // As a worker would that has been waiting for the schema: at once when the last migration is there.
    let occupied = Database::postgres().await;
    occupied
        .change(
            "create function now_there() returns event_trigger language plpgsql as $$ begin \
                if to_regclass('articles_seen') is not null and not exists (select from lineages) then \
                    insert into lineages (cluster_id, topic_id, topic, partition) values ('c', '', 'odds', 0); \
                end if; end $$; \
             create event trigger now_there on ddl_command_end when tag in ('CREATE INDEX') execute function now_there()",
        )
        .await;
    let output = on(&setup, &occupied).run(&["db", "restore", &backup]);
    refused(&output, 1, "somebody else writes into this database");
    assert_eq!(
        occupied.tables().await,
        Vec::<String>::new(),
        "no empty tables that a worker would start from"
    );
    occupied.change("drop event trigger now_there").await;
    on(&setup, &occupied).must(&["db", "restore", &backup]);
    for used in [occupied, database] {
        used.drop_now().await;
    }
}

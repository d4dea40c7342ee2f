//! The Helm chart as a cluster sees it: its golden renders, read from the repository, and any container of them as a process on
//! this machine, with what the render mounts put into a folder.
//!
//! What must stay true: nothing of a render is known here by heart but the Kubernetes API; a path that no mount holds is an error.

use std::path::{Path, PathBuf};
use std::process::Command;

use figment::providers::{Format, Toml};
use serde::Deserialize;
use serde_json::Value;

use super::certificates::{Authority, Validity};
use super::worker::command;

/// What `helm template` made of one scenario.
pub struct Render {
    pub scenario: String,
    pub objects: Vec<Value>,
}

/// All golden renders.
pub fn renders() -> Vec<Render> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../helm/tests/golden");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a golden render");
        Render::parse(&path.file_stem().expect("a name").to_string_lossy(), &text)
    };
    paths.into_iter().map(read).collect()
}

/// The golden render of one scenario.
pub fn render(scenario: &str) -> Render {
    let found = renders().into_iter().find(|render| render.scenario == scenario);
    found.unwrap_or_else(|| panic!("there is no golden render of {scenario}"))
}

impl Render {
    pub fn parse(scenario: &str, text: &str) -> Self {
        let documents = serde_norway::Deserializer::from_str(text);
        // By way of YAML's own values: they take no key twice, as the API server does not.
        let parse = |document| {
            let value = serde_norway::Value::deserialize(document);
            let value = value.and_then(serde_norway::from_value::<Value>);
            value.unwrap_or_else(|error| panic!("{scenario}: {error}"))
        };
        let objects = documents.map(parse).filter(|object| !object.is_null()).collect();
        Self { scenario: scenario.to_owned(), objects }
    }

    pub fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    fn named(&self, kind: &str, name: &Value) -> Option<&Value> {
        self.of(kind).find(|object| object["metadata"]["name"] == *name)
    }

    /// Every container of the program, in every pod that the chart makes.
    pub fn containers(&self) -> Vec<Container<'_>> {
        let mut found = Vec::new();
        for owner in &self.objects {
            let template = match owner["kind"].as_str() {
                Some("Deployment" | "StatefulSet" | "Job") => &owner["spec"]["template"],
                Some("CronJob") => &owner["spec"]["jobTemplate"]["spec"]["template"],
                Some("Pod") => owner,
                _ => continue,
            };
            let pod = &template["spec"];
            for spec in list(&pod["initContainers"]).chain(list(&pod["containers"])) {
                let image = spec["image"].as_str().unwrap_or_default();
                if image.contains("ledgerline") {
                    found.push(Container { render: self, owner, pod, spec });
                }
            }
        }
        found
    }

    /// The containers that consume.
    pub fn workers(&self) -> Vec<Container<'_>> {
        let mut workers = self.containers();
        workers.retain(Container::is_worker);
        workers
    }
}

/// The members of a list; of what is no list, none.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// One container of a render.
pub struct Container<'a> {
    render: &'a Render,
    pub owner: &'a Value,
    pub pod: &'a Value,
    pub spec: &'a Value,
}

impl Container<'_> {
    pub fn name(&self) -> String {
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let (kind, owner) = (text(&self.owner["kind"]), text(&self.owner["metadata"]["name"]));
        format!("{}: {kind} {owner}, container {}", self.render.scenario, text(&self.spec["name"]))
    }

    pub fn is_worker(&self) -> bool {
        ["Deployment", "StatefulSet"].iter().any(|kind| self.owner["kind"] == *kind)
            && self.args().iter().any(|arg| arg == "run")
    }

    /// Its arguments, with `$(NAME)` replaced as a kubelet does.
    pub fn args(&self) -> Vec<String> {
        // A command would replace the image's entry point, and with it the program that is started here.
        let command: Vec<&Value> = list(&self.spec["command"]).collect();
        assert!(command.is_empty() || command[0] == "ledgerline", "{}: {command:?}", self.name());
        let all = command.into_iter().skip(1).chain(list(&self.spec["args"]));
        let expand = |arg: &Value| {
            let mut arg =
                arg.as_str().unwrap_or_else(|| panic!("{}: {arg} is no text", self.name())).to_owned();
            for (name, value) in self.environment() {
                arg = arg.replace(&format!("$({name})"), &value);
            }
            arg
        };
        all.map(expand).collect()
    }

    /// Its variables that have a value of their own.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let pairs = list(&self.spec["env"]).map(|entry| (text(&entry["name"]), text(&entry["value"])));
        pairs.filter_map(|(name, value)| Some((name?, value?))).collect()
    }

    /// Path of its configuration file, as it is in the container.
    pub fn config_path(&self) -> String {
        let args = self.args();
        let named = args.iter().position(|arg| arg == "--config").and_then(|at| args.get(at + 1));
        named.unwrap_or_else(|| panic!("{}: no --config in {args:?}", self.name())).clone()
    }

    /// Text of its configuration file, from the ConfigMap that is mounted there.
    pub fn config_text(&self) -> String {
        let path = self.config_path();
        let (volume, file) = self.mounted(&path);
        let name = &volume["configMap"]["name"];
        let map = self.render.named("ConfigMap", name);
        let map = map.unwrap_or_else(|| panic!("{}: {path} is of no ConfigMap of the render", self.name()));
        let text = map["data"][key(&volume["configMap"], &file)].as_str();
        text.unwrap_or_else(|| panic!("{}: the ConfigMap {name} has no {file}", self.name())).to_owned()
    }

    /// Its configuration.
    pub fn config(&self) -> Value {
        let toml = Toml::string(&self.config_text());
        figment::Figment::from(toml).extract().unwrap_or_else(|error| panic!("{}: {error}", self.name()))
    }

    /// The volume that holds a path, and the path inside it.
    fn mounted(&self, path: &str) -> (&Value, String) {
        let holds = |mount: &&Value| {
            let at = mount["mountPath"].as_str().expect("a mount has a path");
            path == at || path.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'))
        };
        let depth = |mount: &&Value| mount["mountPath"].as_str().map(str::len);
        let mount = list(&self.spec["volumeMounts"]).filter(holds).max_by_key(depth);
        let mount = mount.unwrap_or_else(|| panic!("{}: no mount holds {path}", self.name()));
        let volume = list(&self.pod["volumes"]).find(|volume| volume["name"] == mount["name"]);
        let volume = volume.unwrap_or_else(|| panic!("{}: no volume {}", self.name(), mount["name"]));
        let rest = path.strip_prefix(mount["mountPath"].as_str().expect("a path")).expect("it is held");
        let inside = mount["subPath"].as_str().unwrap_or_default().to_owned() + rest;
        (volume, inside.trim_start_matches('/').to_owned())
    }

    /// Panics unless a Secret brings that file.
    fn must_be_secret(&self, path: &str) {
        let (volume, file) = self.mounted(path);
        let projected = list(&volume["projected"]["sources"]).map(|source| &source["secret"]);
        let brings = |secret: &Value| match secret["items"].as_array() {
            Some(items) => items.iter().any(|item| item["path"] == *file),
            None => secret.is_object(),
        };
        let found = projected.chain([&volume["secret"]]).any(brings);
        assert!(found, "{}: {path} comes from no secret: {volume}", self.name());
    }

    /// Puts its configuration and stand-ins of its secrets below `folder`, as the mounts say.
    pub fn place(&self, folder: &Path) -> Placed {
        let path = self.config_path();
        let mount = Path::new(&path).parent().expect("a folder").display().to_string() + "/";
        let here = folder.join(mount.trim_start_matches('/'));
        let moved = |text: &str| text.replace(&mount, &format!("{}/", here.display()));
        let authority = Authority::new(folder, "authority");
        let identity = authority.issue("localhost", Validity::Now);
        for (name, file) in secret_files(&self.config()) {
            self.must_be_secret(&file);
            let content = match name.as_str() {
                "url_file" | "read_url_file" => "postgres://user:canary-of-a-secret@database/name".to_owned(),
                "ca_file" => std::fs::read_to_string(&authority.file).expect("a certificate"),
                "certificate_file" => identity.certificate.clone(),
                "key_file" => identity.key.clone(),
                _ => "canary-of-a-secret".to_owned(),
            };
            let file = PathBuf::from(moved(&file));
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            std::fs::write(file, content).expect("written");
        }
        let config = here.join(Path::new(&path).file_name().expect("a name"));
        std::fs::create_dir_all(&here).expect("a folder");
        std::fs::write(&config, moved(&self.config_text())).expect("written");
        let args = self.args().iter().map(|arg| moved(arg)).collect();
        let environment = self.environment().into_iter().map(|(name, value)| (name, moved(&value))).collect();
        Placed { config, args, environment }
    }
}

/// The key of a ConfigMap that becomes that file.
fn key<'a>(source: &'a Value, file: &'a str) -> &'a str {
    let item = list(&source["items"]).find(|item| item["path"] == *file);
    item.and_then(|item| item["key"].as_str()).unwrap_or(file)
}

/// Every key of a configuration that names a file, and the file.
fn secret_files(config: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, value) in config.as_object().into_iter().flatten() {
        match value.as_str() {
            Some(file) if name.ends_with("_file") => found.push((name.clone(), file.to_owned())),
            _ => found.extend(secret_files(value)),
        }
    }
    found
}

/// A container's files on this machine, and how its program is called.
pub struct Placed {
    pub config: PathBuf,
    pub args: Vec<String>,
    pub environment: Vec<(String, String)>,
}

impl Placed {
    /// The program with other arguments, on the same configuration.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = command(&self.config);
        command.args(args).envs(self.environment.iter().cloned());
        command
    }

    /// The program as the container starts it.
    pub fn as_rendered(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ledgerline"));
        command.args(&self.args).envs(self.environment.iter().cloned()).stdin(std::process::Stdio::null());
        command
    }
}

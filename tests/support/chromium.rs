//! A headless Chromium of a test's own, driven over the pipe of its debugging protocol: no port, no further program. `make
//! page-test` installs it.
//!
//! What must stay true: it dies with the test's process; whatever the page complains about (an error in a script, a thing that
//! the policy refused) is kept for the test to look at. Everything here blocks.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use base64::Engine;
use serde_json::{Value, json};

use super::servers::{spawn, tied};
use super::{PATIENCE, service};

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    session: Option<String>,
    number: u64,
    /// What the page complained about.
    pub complaints: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Browser {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (to, from) = (folder.path().join("to"), folder.path().join("from"));
        let made = Command::new("mkfifo").arg(&to).arg(&from).status().expect("mkfifo runs");
        assert!(made.success(), "mkfifo: {made}");
        // The protocol is spoken on the file descriptors 3 and 4, which a shell can give.
        let mut command = tied("KILL", Path::new("/bin/sh"));
        command.args(["-c", "to=$1 from=$2; shift 2; exec \"$@\" 3<\"$to\" 4>\"$from\"", "sh"]);
        command.arg(&to).arg(&from).arg(service("LEDGERLINE_TEST_CHROMIUM")).args([
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--no-sandbox", // a test runs as root in a container, where there is none to be had
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
        ]);
        command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        let log = File::create(folder.path().join("log")).expect("a log file");
        let child = spawn({
            command.stdout(Stdio::null()).stderr(log);
            command
        });
        // Each side waits for the other to open: in the shell's order.
        let to = File::options().write(true).open(&to).expect("the browser listens");
        let messages = listen(File::open(&from).expect("the browser speaks"));
        let mut browser = Self {
            child,
            to,
            from: messages,
            session: None,
            number: 0,
            complaints: Vec::new(),
            _folder: folder,
        };
        browser.open_page();
        browser
    }

    fn open_page(&mut self) {
        let target = self.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call("Target.attachToTarget", &attach);
        self.session = Some(attached["sessionId"].as_str().expect("a session").to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), &json!({}));
        }
    }

    /// Asks for something and answers the result.
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        self.number += 1;
        let mut message = json!({"id": self.number, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("the browser listens");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let message = self.from.recv_timeout(rest).unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == json!(self.number) {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.overhear(&message);
        }
    }

    fn overhear(&mut self, message: &Value) {
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(message["params"]["exceptionDetails"].to_string());
            }
            Some("Log.entryAdded") => self.complaints.push(message["params"]["entry"].to_string()),
            Some(_) | None => {}
        }
    }

    /// Goes there and waits until the document is complete.
    pub fn go(&mut self, url: &str) {
        let answer = self.call("Page.navigate", &json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.until("document.readyState === 'complete'");
    }

    /// The value of an expression on the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", &params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression on the page is true.
    pub fn until(&mut self, expression: &str) {
        let start = Instant::now();
        // A navigation may throw the page away under the question: then it is asked again.
        let look = format!(
            "new Promise((done) => {{ const until = Date.now() + 2000; (function look() {{ \
             if ({expression}) done(true); else if (Date.now() > until) done(false); else setTimeout(look, 50); }})(); }})"
        );
        loop {
            let params = json!({"expression": look, "returnByValue": true, "awaitPromise": true});
            let answer = self.call_or_none("Runtime.evaluate", &params);
            if answer.is_some_and(|answer| answer["result"]["value"] == json!(true)) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {expression}");
        }
    }

    /// As [`Self::call`], and nothing where the browser refuses.
    fn call_or_none(&mut self, method: &str, params: &Value) -> Option<Value> {
        self.number += 1;
        let message =
            json!({"id": self.number, "method": method, "params": params, "sessionId": self.session});
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("the browser listens");
        loop {
            let message =
                self.from.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == json!(self.number) {
                return message["error"].is_null().then(|| message["result"].clone());
            }
            self.overhear(&message);
        }
    }

    /// Presses a key, as somebody would who has no mouse.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            other => panic!("the key {other} is not known here"),
        };
        let event = |kind: &str| json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": if kind == "keyDown" { text } else { "" }});
        for kind in ["keyDown", "keyUp"] {
            self.call("Input.dispatchKeyEvent", &event(kind));
        }
    }

    /// How large the window is, and whether it is dark around it.
    pub fn look_like(&mut self, width: u32, height: u32, scheme: &str) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// A picture of the whole page.
    pub fn picture(&mut self, file: &Path) {
        let picture =
            self.call("Page.captureScreenshot", &json!({"format": "png", "captureBeyondViewport": true}));
        let data = picture["data"].as_str().expect("a picture");
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("the folder is made");
        std::fs::write(file, bytes).expect("the picture is kept");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Messages end with a zero byte. A thread reads them, so that waiting for one has a bound.
fn listen(from: File) -> Receiver<Value> {
    let (to, messages) = sync_channel(10_000);
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        while from.read_until(0, &mut bytes).is_ok_and(|read| read > 0) {
            let message = serde_json::from_slice(bytes.strip_suffix(&[0]).unwrap_or(&bytes));
            if message.is_ok_and(|message| to.send(message).is_err()) {
                return;
            }
            bytes.clear();
        }
    });
    messages
}

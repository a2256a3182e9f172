//! A browser without a window, and its words for what these tests do.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Instant,
};

use fantoccini::{
    Client, ClientBuilder, Locator,
    actions::{InputSource as _, KeyAction, KeyActions},
    error::{CmdError, ErrorStatus},
    key::Key,
    wd::WebDriverCompatibleCommand,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::scene::{LOOK_EVERY, PATIENCE, wait_for};

pub(crate) struct Browser {
    runtime: Runtime,
    client: Client,
    driver: Child,
    _profile: tempfile::TempDir,
}

/// A command of chromedriver beyond the standard.
#[derive(Debug)]
struct Own(&'static str, Value);

impl WebDriverCompatibleCommand for Own {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.0))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.1.to_string()))
    }
}

/// An element by its CSS selector, for scripts.
fn quoted(css: &str) -> String {
    Value::from(css).to_string()
}

impl Browser {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("these tests need chromium and chromedriver: deploy/ensure-programs.sh browser");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map(Result::unwrap);
        let said = lines.find(|line| line.contains("successfully on port")).expect("chromedriver's port");
        let port: u16 = said.rsplit(' ').next().unwrap().trim_end_matches('.').parse().unwrap();
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1280,1000",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        builder.capabilities(capabilities.as_object().unwrap().clone());
        let client = runtime.block_on(builder.connect(&format!("http://127.0.0.1:{port}")));
        let client = client.unwrap_or_else(|error| {
            let _ = driver.kill();
            let _ = driver.wait();
            panic!("no browser: {error}");
        });
        Self { runtime, client, driver, _profile: profile }
    }

    pub(crate) fn open(&self, link: &str) {
        self.runtime.block_on(self.client.goto(link)).unwrap();
    }

    pub(crate) fn reload(&self) {
        self.runtime.block_on(self.client.refresh()).unwrap();
    }

    /// What a script returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        let outcome = self.runtime.block_on(self.client.execute(script, Vec::new()));
        outcome.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    pub(crate) fn holds(&self, condition: &str) -> bool {
        self.run(&format!("return Boolean({condition})")) == Value::Bool(true)
    }

    /// Looks until the expression is true; says what the page said instead.
    pub(crate) fn wait(&self, condition: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.holds(condition) {
            if Instant::now() > end {
                panic!("waited in vain for {condition}; the page:\n{}", self.run("return document.body.innerText"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub(crate) fn text(&self, css: &str) -> String {
        self.run(&format!("return document.querySelector({})?.textContent ?? ''", quoted(css)))
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Waits until an element has this in its text.
    pub(crate) fn wait_text(&self, css: &str, part: &str) {
        self.wait(&format!("document.querySelector({})?.textContent.includes({})", quoted(css), quoted(part)));
    }

    /// As with a mouse: nothing may lie over the element. Without scripts the page renews itself: the element may be a moment away.
    pub(crate) fn click(&self, css: &str) {
        wait_for(css, || {
            // Chromium drops what is done to a page that nobody has seen yet.
            let there = format!(
                "document.querySelector({0})?.scrollIntoView({{ block: 'center', inline: 'center' }})",
                quoted(css)
            );
            if !self.holds("performance.getEntriesByType('paint').length > 0") {
                return None;
            }
            self.run(&there);
            let clicked = self.runtime.block_on(async { self.client.find(Locator::Css(css)).await?.click().await });
            match clicked {
                Ok(()) => Some(()),
                Err(CmdError::Standard(error))
                    if matches!(error.error, ErrorStatus::NoSuchElement | ErrorStatus::StaleElementReference) =>
                {
                    None
                }
                Err(error) => panic!("{css}: {error}"),
            }
        });
    }

    pub(crate) fn press(&self, key: Key) {
        self.press_together(&[key]);
    }

    fn press_together(&self, keys: &[Key]) {
        let mut actions = KeyActions::new("keyboard".to_owned());
        for key in keys {
            actions = actions.then(KeyAction::Down { value: (*key).into() });
        }
        for key in keys.iter().rev() {
            actions = actions.then(KeyAction::Up { value: (*key).into() });
        }
        self.runtime.block_on(self.client.perform_actions(actions)).unwrap();
    }

    /// Presses Tab until the element has the focus.
    pub(crate) fn tab_to(&self, css: &str) {
        self.press_until(&[Key::Tab], css);
    }

    /// The other way round.
    pub(crate) fn tab_back_to(&self, css: &str) {
        self.press_until(&[Key::Shift, Key::Tab], css);
    }

    fn press_until(&self, keys: &[Key], css: &str) {
        for _ in 0..120 {
            self.press_together(keys);
            if self.holds(&format!("document.activeElement.matches({})", quoted(css))) {
                return;
            }
        }
        panic!("Tab does not lead to {css}");
    }

    /// A command of the DevTools protocol.
    pub(crate) fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.own("goog/cdp/execute", json!({ "cmd": command, "params": parameters }))
    }

    fn own(&self, name: &'static str, body: Value) -> Value {
        self.runtime.block_on(self.client.issue_cmd(Own(name, body))).unwrap()
    }

    /// What a script in the page's own world results in, when its promise is kept. As the page's own tools it is not bound by its
    /// policy for scripts.
    pub(crate) fn evaluate(&self, script: &str) -> Value {
        let asked = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.devtools("Runtime.evaluate", &asked);
        assert!(answer["exceptionDetails"].is_null(), "{answer}");
        answer["result"]["value"].take()
    }

    /// What the browser's own console has said since this was asked last.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.own("se/log", json!({ "type": "browser" }));
        log.as_array().unwrap().iter().map(Value::to_string).collect()
    }

    /// Waits until a frame came that was not there before.
    pub(crate) fn next_frame(&self) {
        let time = "document.querySelector('.u-legend .u-value').textContent";
        let before = self.run(&format!("return {time}")).to_string();
        self.wait(&format!("{time} !== {before}"));
    }

    /// Another tab with this address; what follows happens in it.
    pub(crate) fn open_tab(&self, link: &str) {
        self.runtime.block_on(async {
            let tab = self.client.new_window(true).await.unwrap();
            self.client.switch_to_window(tab.handle).await.unwrap();
        });
        self.open(link);
    }

    /// Closes the tab and goes on in the first one.
    pub(crate) fn close_tab(&self) {
        self.runtime.block_on(async {
            self.client.close_window().await.unwrap();
            let first = self.client.windows().await.unwrap().swap_remove(0);
            self.client.switch_to_window(first).await.unwrap();
        });
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // chromedriver ends the browser with its session.
        let _ = self.runtime.block_on(self.client.clone().close());
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

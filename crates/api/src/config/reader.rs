//! Reads the variables one by one, collects every error, and records what `config check` prints.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use super::value::{format_duration, parse_duration, parse_switch};

/// Bounds of time-outs, intervals and delays. tokio's timers have a resolution of one millisecond, and an hour is
/// longer than any useful wait.
pub(super) const WAIT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(3_600));
/// Bounds of the time for which something is cached. A month is longer than any useful cache entry lives.
pub(super) const KEEP: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(30 * 86_400));

/// Every error of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0.len();
        writeln!(f, "the configuration has {n} fault{}:", if n == 1 { "" } else { "s" })?;
        for fault in &self.0 {
            writeln!(f, "  {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// One line of `config check`.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) origin: &'static str,
    pub(super) meaning: &'static str,
}

/// The variables, and the results of reading them so far.
#[derive(Debug)]
pub struct Reader {
    variables: BTreeMap<String, String>,
    /// Variables whose values are not valid Unicode.
    unreadable: BTreeSet<String>,
    faults: Vec<String>,
    listed: Vec<Listed>,
}

impl Reader {
    pub(super) fn from_env() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
        let environment = std::env::vars_os();
        let mut reader = Self::from_variables([]);
        for (name, value) in environment {
            let name = name.to_string_lossy().into_owned();
            match value.into_string() {
                Ok(value) => drop(reader.variables.insert(name, value)),
                // Only an error if it is a variable of this service.
                Err(_) => drop(reader.unreadable.insert(name)),
            }
        }
        reader
    }

    pub(super) fn from_variables<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { variables, unreadable: BTreeSet::new(), faults: Vec::new(), listed: Vec::new() }
    }

    pub(super) fn finish(self) -> Result<Vec<Listed>, ConfigErrors> {
        if self.faults.is_empty() { Ok(self.listed) } else { Err(ConfigErrors(self.faults)) }
    }

    /// Reads a value of any type. `parse` returns what is wrong with the text; `show` formats the value.
    pub(super) fn value<T: Clone>(
        &mut self,
        name: &'static str,
        default: T,
        meaning: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
        show: impl Fn(&T) -> String,
    ) -> T {
        let (value, origin) = match self.text(name) {
            None => (default, "default"),
            Some(text) => match parse(&text) {
                Ok(value) => (value, "set"),
                Err(fault) => {
                    self.fault(name, fault);
                    (default, "default")
                }
            },
        };
        self.list(name, show(&value), origin, meaning);
        value
    }

    /// The value of a variable. An empty variable counts as not set; so does one that is not valid Unicode, which is
    /// also recorded as an error.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        if self.is_unreadable(name) {
            self.fault(name, "is not UTF-8 text");
        }
        self.variables.get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Whether the variable is not valid Unicode, which is already recorded as an error.
    pub(super) fn is_unreadable(&self, name: &str) -> bool {
        self.unreadable.contains(name)
    }

    /// The path of a file, if one is given.
    pub(super) fn path(&mut self, name: &'static str, meaning: &'static str) -> Option<String> {
        let show = |path: &Option<String>| path.clone().unwrap_or_else(|| "none".to_owned());
        self.value(name, None, meaning, |text| Ok(Some(text.to_owned())), show)
    }

    /// Records what is wrong with a variable.
    pub(super) fn fault(&mut self, name: &str, fault: impl fmt::Display) {
        self.faults.push(format!("{name}: {fault}"));
    }

    /// Records a line for `config check`.
    pub(super) fn list(&mut self, name: &'static str, value: String, origin: &'static str, meaning: &'static str) {
        self.listed.push(Listed { name, value, origin, meaning });
    }

    /// A duration within [`WAIT`].
    pub(super) fn duration(&mut self, name: &'static str, default: Duration, meaning: &'static str) -> Duration {
        self.duration_within(name, default, WAIT, meaning)
    }

    /// A duration within `bounds`.
    pub(super) fn duration_within(
        &mut self,
        name: &'static str,
        default: Duration,
        bounds: (Duration, Duration),
        meaning: &'static str,
    ) -> Duration {
        self.value(name, default, meaning, |text| parse_duration(text, bounds), |value| format_duration(*value))
    }

    pub(super) fn switch(&mut self, name: &'static str, default: bool, meaning: &'static str) -> bool {
        let show = |value: &bool| if *value { "on" } else { "off" }.to_owned();
        self.value(name, default, meaning, parse_switch, show)
    }

    /// A whole number within `bounds`.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        default: u32,
        bounds: (u32, u32),
        meaning: &'static str,
    ) -> u32 {
        self.value(name, default, meaning, |text| parse_number(text, bounds), u32::to_string)
    }

    /// A whole number within `bounds`, or `off`.
    pub(super) fn limit(
        &mut self,
        name: &'static str,
        default: Option<u32>,
        bounds: (u32, u32),
        meaning: &'static str,
    ) -> Option<u32> {
        let parse = |text: &str| {
            if text == "off" { Ok(None) } else { parse_number(text, bounds).map(Some) }
        };
        self.value(name, default, meaning, parse, |value| value.map_or_else(|| "off".to_owned(), |n| n.to_string()))
    }

    /// Checks that `child` is not longer than `parent`.
    pub(super) fn fits(&mut self, child: (&str, Option<Duration>), parent: (&str, Option<Duration>)) {
        if let ((child, Some(child_value)), (parent, Some(parent_value))) = (child, parent)
            && child_value > parent_value
        {
            let (child_value, parent_value) = (format_duration(child_value), format_duration(parent_value));
            let fault = format!("{child_value} is longer than {parent} ({parent_value}), which it must fit under");
            self.fault(child, fault);
        }
    }
}

fn parse_number(text: &str, (least, most): (u32, u32)) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("`{text}` is not a whole number from {least} to {most}")),
    }
}

//! The mechanisms of the API that can be switched while the stack runs, and the form in which a page asks for it.

use stack::{StackError, Topology};

/// One variable of the replicas.
#[derive(Debug)]
pub(super) struct Switch {
    pub(super) variable: &'static str,
    pub(super) label: &'static str,
    /// The value when the variable is not set; without `PHASE`.
    pub(super) default: &'static str,
    pub(super) values: &'static [&'static str],
    pub(super) buys: &'static str,
}

const ON_OFF: &[&str] = &["on", "off"];

pub(super) const SWITCHES: [Switch; 10] = [
    Switch { variable: "CACHE", label: "Cache", default: "on", values: ON_OFF, buys: "reads that do not ask Postgres" },
    Switch {
        variable: "NEAR_CACHE",
        label: "Near cache",
        default: "off",
        values: ON_OFF,
        buys: "reads that do not ask Redis either",
    },
    Switch {
        variable: "TIMEOUTS",
        label: "Time-outs",
        default: "on",
        values: ON_OFF,
        buys: "an answer in time when a dependency hangs",
    },
    Switch {
        variable: "BREAKERS",
        label: "Breakers",
        default: "on",
        values: ON_OFF,
        buys: "no wait for a dependency that is known to be away",
    },
    Switch {
        variable: "SINGLE_FLIGHT",
        label: "Single flight",
        default: "on",
        values: ON_OFF,
        buys: "one read of Postgres for a hundred of the same key",
    },
    Switch {
        variable: "STALE_IF_ERROR",
        label: "Stale if error",
        default: "on",
        values: ON_OFF,
        buys: "old answers while Postgres is away",
    },
    Switch {
        variable: "RETRY_BUDGET",
        label: "Retry budget",
        default: "on",
        values: ON_OFF,
        buys: "retries that cannot double the load",
    },
    Switch {
        variable: "REDIS_ATTEMPTS",
        label: "Attempts at Redis",
        default: "2",
        values: &["1", "2"],
        buys: "a second try after a short time-out",
    },
    Switch {
        variable: "CONCURRENCY_LIMIT",
        label: "In flight, each",
        default: "100",
        values: &["10", "100", "auto", "off"],
        buys: "a refusal at once in the place of a queue",
    },
    Switch {
        variable: "MAX_RPS",
        label: "Requests/s, each",
        default: "off",
        values: &["off", "16", "50", "200"],
        buys: "a bound for an underpowered replica",
    },
];

impl Switch {
    /// As set, or the default. `None` in a phase that presets it: the replica decides.
    pub(super) fn value<'a>(&'a self, topology: &'a Topology) -> Option<&'a str> {
        let set = topology.env.iter().rfind(|(name, _)| name == self.variable);
        set.map(|(_, value)| value.as_str()).or_else(|| topology.phase.is_none().then_some(self.default))
    }
}

/// What the form asks for, on top of what runs.
///
/// # Errors
/// A value that its switch does not have; a phase that does not exist.
pub(super) fn changed(topology: &Topology, fields: &[(String, String)]) -> Result<Topology, StackError> {
    let mut wanted = topology.clone();
    for (name, value) in fields {
        match name.as_str() {
            "phase" if value.is_empty() => wanted.phase = None,
            "phase" => wanted.phase = Some(value.parse().map_err(|_| unknown(name, value))?),
            "cpus" if value.is_empty() => wanted.cpus = None,
            "cpus" => wanted.cpus = Some(value.parse().map_err(|_| unknown(name, value))?),
            _ => {
                let switch = SWITCHES.iter().find(|switch| switch.variable == name);
                let switch = switch.ok_or_else(|| unknown(name, value))?;
                let is_known = switch.values.contains(&value.as_str()) || switch.value(topology) == Some(value);
                match value.as_str() {
                    "" => wanted.env.retain(|(known, _)| known != name),
                    _ if !is_known => return Err(unknown(name, value)),
                    // A default that need not be set is not, so that it follows a change of the phase.
                    _ if value == switch.default && wanted.phase.is_none() => {
                        wanted.env.retain(|(known, _)| known != name);
                    }
                    _ => wanted = wanted.with(name, value),
                }
            }
        }
    }
    Ok(wanted)
}

fn unknown(name: &str, value: &str) -> StackError {
    StackError::Usage(format!("there is no switch {name} with the value `{value}`"))
}

/// The command line that brings about the same. Empty: nothing changes.
pub(super) fn words(before: &Topology, after: &Topology) -> Vec<String> {
    let mut words = Vec::new();
    if before.replicas != after.replicas {
        words.push(format!("--replicas {}", after.replicas));
    }
    if before.phase != after.phase {
        words.push(after.phase.map_or("--no-phase".to_owned(), |phase| format!("--phase {phase}")));
    }
    if before.cpus != after.cpus {
        words.push(after.cpus.map_or("--no-cpus".to_owned(), |cpus| format!("--cpus {cpus}")));
    }
    for (name, value) in &after.env {
        if !before.env.contains(&(name.clone(), value.clone())) {
            words.push(format!("--env {name}={value}"));
        }
    }
    for (name, _) in &before.env {
        if !after.env.iter().any(|(known, _)| known == name) {
            words.push(format!("--unset {name}"));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_form_becomes_a_topology_and_a_command_line() {
        let before = Topology { replicas: 3, ..Topology::default() }.with("BREAKERS", "off");
        let form = fields(&[("phase", ""), ("CACHE", "off"), ("BREAKERS", "on"), ("TIMEOUTS", "on"), ("cpus", "0.5")]);
        let after = changed(&before, &form).unwrap();
        assert_eq!(after.env, [("CACHE".to_owned(), "off".to_owned())]);
        assert_eq!(words(&before, &after), ["--cpus 0.5", "--env CACHE=off", "--unset BREAKERS"]);
        assert!(words(&after, &after).is_empty());
    }

    #[test]
    fn in_a_phase_a_default_has_to_be_said() {
        let before = Topology { replicas: 3, phase: Some(1), ..Topology::default() };
        assert_eq!(SWITCHES[0].value(&before), None);
        let after = changed(&before, &fields(&[("CACHE", "on")])).unwrap();
        assert_eq!(words(&before, &after), ["--env CACHE=on"]);
        assert_eq!(changed(&after, &fields(&[("CACHE", "")])).unwrap(), before);
    }

    #[test]
    fn what_is_no_switch_is_refused() {
        let before = Topology { replicas: 3, ..Topology::default() };
        for (name, value) in [("PATH", "x"), ("CACHE", "maybe"), ("phase", "x"), ("MAX_RPS", "1; rm"), ("cpus", "much")]
        {
            assert!(matches!(changed(&before, &fields(&[(name, value)])), Err(StackError::Usage(_))), "{name}={value}");
        }
    }
}

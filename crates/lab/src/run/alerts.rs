//! The alerts of a Prometheus that watches an arm, from the first second that one is pending to its end.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::Value;
use stack::{HostEnvironment, Operation, Session, StackError};

use crate::{experiment::AlertsPlan, journal::Entry};

/// How often the alerts are read: how late a change of state can be seen.
pub(super) const EVERY: Duration = Duration::from_millis(100);
/// For every replica to be read once, and for what is pending until then.
const QUIET_WITHIN: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the alerts are read, and what they were.
#[derive(Debug)]
pub(super) struct Alerts {
    url: String,
    known: BTreeMap<String, String>,
}

/// Starts Prometheus and waits until it sees every replica and nothing is pending. The text is for the report: how the rules are
/// timed, or why nothing raises alerts.
pub(super) fn start(
    plan: &AlertsPlan,
    session: &Session,
    host: &HostEnvironment,
    operation: &Operation<'_>,
) -> Result<(Option<Alerts>, String), StackError> {
    let timing = match session.start_alerts(plan.day, host, operation)? {
        Ok(timing) => timing,
        Err(why) => return Ok((None, format!("No alerts were raised: {why}"))),
    };
    let Some(url) = session.status()?.observability.remove("prometheus") else {
        return Ok((None, "No alerts were raised: Prometheus ended".to_owned()));
    };
    let replicas = session.endpoints()?.replicas.len();
    let alerts = Alerts { url, known: BTreeMap::new() };
    let end = Instant::now() + QUIET_WITHIN;
    while !alerts.is_quiet(replicas) {
        if Instant::now() > end {
            return Ok((None, "No alerts were raised: Prometheus did not see every replica in good health".to_owned()));
        }
        operation.interrupt.check()?;
        operation.interrupt.sleep(EVERY);
    }
    let day = loadgen::duration::format(plan.day);
    let shrunk = 86_400.0 / plan.day.as_secs_f64();
    let text = format!(
        "Alerts: the day has {day}, so a second is {} minutes of it; {timing}. The windows of the budget alerts are those of a \
         day divided by {shrunk:.0}, at least a second. What takes its own time, such as the start of a replica, is not shorter",
        crate::verdict::number(shrunk / 60.0)
    );
    Ok((Some(alerts), text))
}

impl Alerts {
    fn is_quiet(&self, replicas: usize) -> bool {
        let up = self.ask("query?query=up%7Bjob%3D%22api%22%7D%3D%3D1");
        let seen = up.as_ref().and_then(|up| up["data"]["result"].as_array()).map_or(0, Vec::len);
        // What fires is the state of this stack (one replica is too few); what is pending may be that not all was seen yet.
        seen == replicas && self.raised().is_some_and(|raised| raised.values().all(|state| state == "firing"))
    }

    /// What has changed since the last look.
    pub(super) fn changes(&mut self) -> Vec<Entry> {
        let at = time::OffsetDateTime::now_utc();
        // Without an answer nothing is known.
        let Some(now) = self.raised() else { return Vec::new() };
        let changes = changes(&self.known, &now);
        self.known = now;
        changes.into_iter().map(|(name, state)| Entry::Alert { name, state, at }).collect()
    }

    /// Name and state of each alert that is pending or firing.
    fn raised(&self) -> Option<BTreeMap<String, String>> {
        let answer = self.ask("alerts")?;
        let alerts = answer["data"]["alerts"].as_array()?;
        alerts.iter().map(|alert| Some((name(&alert["labels"])?, alert["state"].as_str()?.to_owned()))).collect()
    }

    fn ask(&self, path: &str) -> Option<Value> {
        let answer = stack::get(&format!("{}/api/v1/{path}", self.url), PATIENCE).ok()?;
        serde_json::from_str(&answer.body).ok().filter(|_| answer.status == 200)
    }
}

/// `DependencyDown redis`: what tells it from the others of its name.
fn name(labels: &Value) -> Option<String> {
    let label = |name: &str| labels[name].as_str().map(|value| format!(" {value}")).unwrap_or_default();
    Some(format!("{}{}{}", labels["alertname"].as_str()?, label("dependency"), label("instance")))
}

/// The new state of each alert whose state is another one; `resolved` when it is gone.
fn changes(known: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let begun = now.iter().filter(|(name, state)| known.get(*name) != Some(*state));
    let over = known.keys().filter(|name| !now.contains_key(*name));
    let begun = begun.map(|(name, state)| (name.clone(), state.clone()));
    begun.chain(over.map(|name| (name.clone(), "resolved".to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()
    }

    #[test]
    fn an_alert_is_told_at_each_change_of_its_state() {
        let (none, pending, firing) = (states(&[]), states(&[("A", "pending")]), states(&[("A", "firing")]));
        let told = |known, now| changes(known, now).into_iter().map(|(_, state)| state).collect::<Vec<_>>();
        assert_eq!(told(&none, &pending), ["pending"]);
        assert!(told(&pending, &pending).is_empty());
        assert_eq!(told(&pending, &firing), ["firing"]);
        assert_eq!(told(&firing, &none), ["resolved"]);
    }

    #[test]
    fn alerts_of_one_name_are_told_apart() {
        let of = |labels| name(&labels).unwrap();
        assert_eq!(
            of(serde_json::json!({ "alertname": "DependencyDown", "dependency": "redis" })),
            "DependencyDown redis"
        );
        let replica = serde_json::json!({ "alertname": "ReplicaDown", "instance": "api-2", "job": "api" });
        assert_eq!(of(replica), "ReplicaDown api-2");
    }
}

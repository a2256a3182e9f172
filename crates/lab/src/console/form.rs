//! The fields of the page's forms, as actions.

use std::time::Duration;

use stack::{FaultKind, Restart, Target};

use super::{
    actions::Action,
    load::{DAY, Order},
    problem::Problem,
};

/// A fault that is to stay longer has no duration at all.
const LONGEST: u64 = 3_600;
/// As Postgres' lesson has it.
const FEW_CONNECTIONS: u32 = 2;
/// As `lab fault leak` without options.
const LEAK_RATE: u64 = 8 << 20;
const LEAK_LIMIT: u64 = 128 << 20;

pub(super) type Fields = Vec<(String, String)>;

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
}

fn number<T: std::str::FromStr>(fields: &Fields, name: &str) -> Result<T, Problem> {
    let text = field(fields, name).ok_or_else(|| Problem::invalid(format!("the field `{name}` is missing")))?;
    text.parse().map_err(|_| Problem::invalid(format!("`{text}` cannot be the value of `{name}`")))
}

/// The action of a form that is sent to `/act/NAME`. `rate`: requests per second just now, for what multiplies it.
pub(super) fn action(name: &str, fields: &Fields, rate: f64) -> Result<Action, Problem> {
    match name {
        "fault" => fault(fields),
        "undo" => Ok(Action::Undo(number(fields, "id")?)),
        "heal" => Ok(Action::HealAll),
        "scale" => Ok(Action::Scale(number(fields, "replicas")?)),
        "configure" => Ok(Action::Configure(fields.clone())),
        "restart" => match field(fields, "order") {
            Some("rolling") => Ok(Action::Restart(Restart::Rolling)),
            Some("all-at-once") => Ok(Action::Restart(Restart::AllAtOnce)),
            _ => Err(Problem::invalid("restart in which order: rolling or all-at-once?".to_owned())),
        },
        "load" => load(fields, rate),
        "up" => Ok(Action::Up),
        _ => Err(Problem::invalid(format!("there is no action `{name}`"))),
    }
}

fn fault(fields: &Fields) -> Result<Action, Problem> {
    let target: Target = number(fields, "target")?;
    let time = match field(fields, "for") {
        None => None,
        Some(_) => Some(number::<u64>(fields, "for")?).filter(|seconds| *seconds > 0),
    };
    if time.is_some_and(|seconds| seconds > LONGEST) {
        return Err(Problem::invalid(format!("a fault with a time lasts {LONGEST} s at most")));
    }
    let records = || "records".to_owned();
    let kind = match field(fields, "kind").unwrap_or_default() {
        "kill" => FaultKind::Kill,
        "stop" => FaultKind::Stop,
        "pause" => FaultKind::Pause,
        "cut" => FaultKind::Cut,
        "slow" => FaultKind::Slow {
            latency: Duration::from_millis(number(fields, "latency_ms")?),
            jitter: Duration::ZERO,
            bandwidth: None,
        },
        "reset" => FaultKind::Reset,
        "half-open" => FaultKind::HalfOpen,
        "lock-table" => FaultKind::LockTable { table: records() },
        "limit-connections" => FaultKind::LimitConnections { most: FEW_CONNECTIONS },
        "end-connections" => FaultKind::EndConnections,
        "read-only" => FaultKind::ReadOnly,
        "pause-clients" => FaultKind::PauseClients,
        "limit-memory" => FaultKind::LimitMemory { bytes: 1 },
        "flush" => FaultKind::Flush,
        "full-disk" => FaultKind::FullDisk,
        "crash" => FaultKind::Crash,
        "leak" => FaultKind::Leak { rate: LEAK_RATE, limit: LEAK_LIMIT },
        other => return Err(Problem::invalid(format!("there is no fault `{other}`"))),
    };
    Ok(Action::Fault { kind, target, time: time.map(Duration::from_secs) })
}

fn load(fields: &Fields, rate: f64) -> Result<Action, Problem> {
    let order = match field(fields, "mode").unwrap_or_default() {
        "off" => Order::Off,
        "steady" => Order::Steady(number(fields, "rate")?),
        "day" => Order::Curve(DAY.to_owned()),
        "curve" => Order::Curve(number(fields, "curve")?),
        "times" => {
            let factor: f64 = number(fields, "factor")?;
            if rate < 1.0 {
                return Err(Problem::invalid("no requests come in now, so there is nothing to multiply".to_owned()));
            }
            Order::Steady((rate * factor).round())
        }
        other => return Err(Problem::invalid(format!("there is no load `{other}`"))),
    };
    Ok(Action::Load(order))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn forms_become_actions() {
        let form = fields(&[("target", "redis"), ("kind", "slow"), ("latency_ms", "100"), ("for", "10")]);
        let Ok(Action::Fault { kind, target, time }) = action("fault", &form, 0.0) else { panic!("no fault") };
        assert_eq!((kind.name(), target, time), ("slow", Target::Redis, Some(Duration::from_secs(10))));
        let form = fields(&[("mode", "times"), ("factor", "5")]);
        assert!(matches!(action("load", &form, 41.0), Ok(Action::Load(Order::Steady(rate))) if rate == 205.0));
        assert!(action("load", &form, 0.0).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (name, form) in [
            ("fault", fields(&[("target", "elsewhere"), ("kind", "kill")])),
            ("fault", fields(&[("target", "redis"), ("kind", "burn")])),
            ("fault", fields(&[("target", "redis"), ("kind", "kill"), ("for", "soon")])),
            ("fault", fields(&[("target", "redis"), ("kind", "kill"), ("for", "99999")])),
            ("fault", fields(&[("target", "redis"), ("kind", "slow")])),
            ("undo", fields(&[])),
            ("scale", fields(&[("replicas", "-1")])),
            ("restart", fields(&[])),
            ("load", fields(&[("mode", "steady")])),
            ("format-disk", fields(&[])),
        ] {
            assert!(action(name, &form, 1.0).is_err(), "{name} {form:?}");
        }
    }
}

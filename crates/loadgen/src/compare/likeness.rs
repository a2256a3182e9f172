//! Why two results cannot be compared: another load, another machine, or an invalid run.

use crate::report::{Mode, Outcome, PlanRecord, Report};

/// The reasons why the sides cannot be compared.
pub(super) fn refusals(base: &Report, new: &Report) -> Vec<String> {
    let mut refusals = Differences::default();
    let (a, b) = (&base.machine, &new.machine);
    refusals.compare("not the same machine: host", &a.host, &b.host);
    refusals.compare("not the same machine: CPU", &a.cpu, &b.cpu);
    refusals.compare("not the same machine: number of cores", &a.cores, &b.cores);
    refusals.compare("not the same machine: kernel", &a.kernel, &b.kernel);
    plans(&mut refusals, &base.plan, &new.plan);
    let mut refusals = refusals.0;
    for (side, report) in [("base", base), ("new", new)] {
        match report.verdict.outcome {
            Outcome::Interrupted => refusals.push(format!("{side} was interrupted")),
            Outcome::Invalid => {
                refusals.extend(report.verdict.invalid.iter().map(|why| format!("{side} is no valid run: {why}")));
            }
            Outcome::Held | Outcome::Deviated => {}
        }
    }
    refusals
}

pub(super) fn warnings(base: &Report, new: &Report) -> Vec<String> {
    let mut warnings = Differences::default();
    warnings.compare("not the same version of load:", &base.version, &new.version);
    let mut warnings = warnings.0;
    warnings.push(
        "the runs of each side were made in a block: what the machine did meanwhile is part of every difference; \
         `load ab` interleaves the sides"
            .to_owned(),
    );
    if base.plan.mode == Mode::Open && new.plan.mode == Mode::Open {
        warnings.push("open loops: the plan sets the throughput, which is not judged".to_owned());
    }
    warnings
}

#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn compare(&mut self, what: &str, base: &dyn ToString, new: &dyn ToString) {
        let (base, new) = (base.to_string(), new.to_string());
        if base != new {
            self.0.push(format!("{what} {base} against {new}"));
        }
    }
}

/// The differences between the loads of the two sides.
fn plans(differences: &mut Differences, base: &PlanRecord, new: &PlanRecord) {
    let word = |mode: Mode| if mode == Mode::Open { "open" } else { "closed" };
    let number = |number: Option<u64>| number.map_or_else(|| "unlimited".to_owned(), |number| number.to_string());
    let seconds =
        |seconds: Option<f64>| seconds.map_or_else(|| "unlimited".to_owned(), |seconds| format!("{seconds} s"));
    let mut compare = |what: &str, base: &dyn ToString, new: &dyn ToString| {
        differences.compare(&format!("not the same load: {what}"), base, new);
    };
    compare("loop", &word(base.mode), &word(new.mode));
    compare("requests", &base.requests.join(", "), &new.requests.join(", "));
    compare("connections", &base.connections, &new.connections);
    compare("threads", &base.threads, &new.threads);
    compare("number of requests", &number(base.planned_requests), &number(new.planned_requests));
    compare("duration", &seconds(base.duration_s), &seconds(new.duration_s));
    compare("warm-up in s", &base.warmup_s, &new.warmup_s);
    compare("keep-alive", &base.keep_alive, &new.keep_alive);
    compare("time-out in ms", &base.timeout_ms, &new.timeout_ms);
    compare("attempts", &base.retries.attempts, &new.retries.attempts);
    compare("success", &format!("{:?}", base.success), &format!("{:?}", new.success));
    if base.requests == new.requests && base.requests_hash != new.requests_hash {
        differences.0.push("not the same load: other headers, bodies, weights or ids".to_owned());
    }
    if base.mode == new.mode && base.curve != new.curve {
        differences.0.push("not the same load: another rate over time".to_owned());
    }
}

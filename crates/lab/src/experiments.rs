//! The list of experiments, in the order in which `--all` runs them. Experiments with the same shape of the stack are
//! next to each other. Those that need a proxy in the network come last, because the proxy stays.
//!
//! Each is a separate file of pure data: nothing here acts.

mod backpressure;
mod both_down;
mod cache;
mod connection_starvation;
mod failing_over;
mod fallbacks;
mod incident_day;
mod matrix;
mod memory_leak;
mod near_cache;
mod outage;
pub mod page;
mod penetration;
mod phases;
mod postgres_kill;
mod postgres_pause;
mod random_faults;
mod redis_kill;
mod redis_pause;
mod rolling_restart;
mod scale_out;
mod schema_change;
mod single_instance_crash;
mod slow_dependency;
mod stampede;
mod underpowered;

use crate::experiment::{Experiment, Scale};

type Make = fn(Scale, u64) -> Experiment;

const LIST: &[Make] = &[
    |_, _| fallbacks::experiment(),
    |scale, _| postgres_kill::experiment(scale),
    |scale, _| redis_kill::experiment(scale),
    |scale, _| both_down::experiment(scale),
    |scale, _| failing_over::experiment(scale),
    |scale, _| schema_change::experiment(scale),
    |scale, _| rolling_restart::experiment(scale),
    |scale, _| incident_day::experiment(scale),
    |scale, _| cache::experiment(scale),
    |scale, _| memory_leak::experiment(scale),
    |scale, _| near_cache::experiment(scale),
    |scale, _| penetration::experiment(scale),
    |scale, _| postgres_pause::experiment(scale),
    |scale, _| redis_pause::experiment(scale),
    |scale, _| single_instance_crash::experiment(scale),
    |scale, _| underpowered::experiment(scale),
    |scale, _| phases::experiment(scale),
    |scale, _| scale_out::experiment(scale),
    |scale, _| stampede::experiment(scale),
    |scale, _| connection_starvation::experiment(scale),
    |scale, _| slow_dependency::experiment(scale),
    |scale, _| backpressure::experiment(scale),
    random_faults::experiment,
];

/// Every experiment. The seed determines the random parts.
#[must_use]
pub fn all(scale: Scale, seed: u64) -> Vec<Experiment> {
    LIST.iter().map(|make| make(scale, seed)).collect()
}

/// The experiment of this name.
#[must_use]
pub fn named(name: &str, scale: Scale, seed: u64) -> Option<Experiment> {
    all(scale, seed).into_iter().find(|experiment| experiment.about.name == name)
}

/// The name that was probably meant; `None` if no name is similar.
#[must_use]
pub fn nearest(name: &str) -> Option<String> {
    let all = all(Scale::Quick, 0).into_iter().map(|experiment| experiment.about.name);
    let (distance, nearest) = all.map(|known| (distance(name, &known), known)).min()?;
    (distance <= known_letters(&nearest) / 2).then_some(nearest)
}

fn known_letters(name: &str) -> usize {
    name.chars().count()
}

/// The edit distance (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in (1..).zip(one.chars()) {
        let mut diagonal = std::mem::replace(&mut row[0], above);
        for (place, wanted) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *wanted);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(row[place] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_experiment_makes_sense_at_both_scales() {
        for scale in [Scale::Quick, Scale::Full] {
            for experiment in all(scale, 1) {
                if let Err(unfit) = experiment.check() {
                    panic!("{}: {unfit}", experiment.about.name);
                }
            }
        }
    }

    #[test]
    fn names_are_unique_and_every_page_has_its_words() {
        let all = all(Scale::Quick, 1);
        let names: BTreeSet<_> = all.iter().map(|experiment| &experiment.about.name).collect();
        assert_eq!(names.len(), all.len());
        for Experiment { about, .. } in &all {
            assert!(!about.expect.is_empty() && !about.change.is_empty(), "{}", about.name);
            assert_eq!(about.seed.is_empty(), about.says.is_empty(), "{}", about.name);
        }
    }

    #[test]
    fn an_experiment_is_read_as_it_was_written() {
        for experiment in all(Scale::Quick, 1) {
            let text = serde_json::to_string(&experiment).unwrap();
            assert_eq!(serde_json::from_str::<Experiment>(&text).unwrap(), experiment, "{text}");
        }
    }

    #[test]
    fn a_misspelt_name_gets_a_suggestion() {
        assert_eq!(nearest("postgres-kil").as_deref(), Some("postgres-kill"));
        assert_eq!(nearest("stampde").as_deref(), Some("stampede"));
        assert_eq!(nearest("scaleout").as_deref(), Some("scale-out"));
        assert_eq!(nearest("xyzzy-42"), None);
    }

    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}

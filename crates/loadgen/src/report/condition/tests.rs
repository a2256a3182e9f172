//! Conditions on constructed measurements.

use super::*;
use crate::tally::KindTally;

/// A hundred planned requests: successful ones of the first kind with these latencies, the others refused after a
/// millisecond.
fn measured(good_ms: impl Iterator<Item = u64>) -> Tally {
    let mut kind = KindTally { sent: 100, ..KindTally::default() };
    good_ms.for_each(|ms| kind.good.record(Duration::from_millis(ms)));
    let good = kind.good.count();
    (good..100).for_each(|_| kind.bad.record(Duration::from_millis(1)));
    let statuses = [((200, String::new()), good), ((503, String::new()), 100 - good)];
    Tally { sent: 100, statuses: statuses.into_iter().collect(), kinds: vec![kind], ..Tally::default() }
}

fn check(text: &str, total: &Tally) -> ConditionResult {
    let kinds = ["reads".to_owned(), "GET /a.json".to_owned()];
    text.parse::<Condition>().unwrap().check(&Measured { total, kinds: &kinds, seconds: 10.0 })
}

#[test]
fn compares_in_the_unit_of_the_bound() {
    let total = measured((0..95).map(|_| 320));
    for (text, failed, measured) in [
        ("p50>320ms", false, "320ms"),
        ("p50>=320ms", true, "320ms"),
        ("p50 > 0.3s", true, "320ms"),
        ("p50<319999us", false, "320ms"),
        ("good.mean>=320ms", true, "320ms"),
        ("kind.reads.p50>=320ms", true, "320ms"),
        ("kind.reads.success<95%", false, "95%"),
        ("bad.p50>2ms", false, "1ms"),
        ("all.max>=320ms", true, "320ms"),
        ("all.p5>1ms", false, "1ms"),
        ("success<95%", false, "95%"),
        ("success<=95%", true, "95%"),
        ("errors>4", true, "5"),
        ("errors>5%", false, "5%"),
        ("errors>=5%", true, "5%"),
        ("rps<10", false, "10/s"),
        ("goodput<9.6", true, "9.5/s"),
    ] {
        let result = check(text, &total);
        assert_eq!((result.failed, result.fail_if.as_str()), (failed, text), "{result:?}");
        assert!(result.measured.starts_with(measured), "{result:?}");
    }
}

#[test]
fn refusals_never_look_like_speed() {
    let half = measured((0..50).map(|_| 400));
    assert!(check("p95>320ms", &half).failed, "half of the requests being refused at once makes nothing faster");
    assert!(check("p50>320ms", &half).failed);
    assert!(!check("all.p50>320ms", &half).failed, "who asks for all gets all");
}

#[test]
fn no_answer_is_not_a_fast_answer() {
    let nothing = measured(std::iter::empty());
    for text in ["p95>10s", "good.max>10s", "mean>10s", "kind.reads.p50>10s", "kind.GET /a.json.p50>10s"] {
        assert!(check(text, &nothing).failed, "{text}");
    }
    let everything = measured((0..100).map(|_| 1));
    assert!(!check("bad.p99>1ms", &everything).failed, "nothing failed, so no failure was slow");
}

#[test]
fn counts_are_judged_and_not_rounded_numbers() {
    let mut total = measured((0..100).map(|_| 1));
    total.sent = 10_000_000;
    total.statuses.insert((200, String::new()), 10_000_000);
    total.errors.insert(crate::ErrorClass::Timeout, 1);
    assert!(check("errors>0%", &total).failed);
}

#[test]
fn a_percentile_of_too_few_is_marked() {
    let total = measured((0..100).map(|_| 1));
    assert_eq!(check("p99>1s", &total).measured, "1ms (of 100 samples; 1000 are needed)");
    assert_eq!(check("p90>1s", &total).measured, "1ms");
}

#[test]
fn a_kind_that_is_not_there_is_refused_by_name() {
    let condition: Condition = "kind.GET /a.json.p99.9>1s".parse().unwrap();
    assert!(condition.check_kind(&["GET /a.json".to_owned()]).is_ok());
    let error = condition.check_kind(&["reads".to_owned()]).unwrap_err().to_string();
    assert!(error.contains("GET /a.json") && error.contains("reads"), "{error}");
    for text in ["kind.p95>1s", "kind..>1s", "kind.reads.errors>1", "good.success<1%", "p0>1s", "p100>1s"] {
        assert!(text.parse::<Condition>().is_err(), "{text}");
    }
}

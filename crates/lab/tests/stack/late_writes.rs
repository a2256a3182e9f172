//! A replica that was paused does not execute the writes that nginx has given up and sent to another one.

use std::thread;

use serde_json::Value;

use crate::{
    client::{Answer, Request},
    support::{Place, wait_for_answer},
};

/// As many writes at the same time as make sure that the paused replica gets some.
const WRITES: u64 = 12;

fn put_all(base: &str, value: &str, if_match: Option<&str>) -> Vec<Answer> {
    let puts: Vec<_> = (1..=WRITES)
        .map(|id| {
            let mut request = Request::new("PUT", format!("{base}/data/{id}"));
            if let Some(tag) = if_match {
                request = request.header("If-Match", tag);
            }
            let request = request.record("late", value);
            thread::spawn(move || request.send())
        })
        .collect();
    puts.into_iter().map(|put| put.join().expect("sent")).collect()
}

fn values(base: &str) -> Vec<Value> {
    (1..=WRITES)
        .map(|id| {
            let read = Request::get(format!("{base}/data/{id}")).header("Cache-Control", "no-cache").send();
            serde_json::from_str::<Value>(&read.body).expect("a record")["value"].clone()
        })
        .collect()
}

#[test]
fn a_paused_replica_wakes_up_and_overwrites_nothing_newer() {
    let place = Place::new();
    let base = place.up(&["--replicas", "3"]).base_url;
    let mut moved_on = 0;
    // nginx leaves a silent replica alone for 3 s; the first round is sure to meet it.
    for _ in 0..2 {
        place.ok(&["fault", "pause", "api-1"]);
        let first = put_all(&base, "first", None);
        assert!(first.iter().all(|answer| answer.status == 200), "{first:#?}");
        moved_on += first.iter().filter(|answer| answer.took.as_secs_f64() > 0.9).count();
        let second = put_all(&base, "second", None);
        assert!(second.iter().all(|answer| answer.status == 200), "{second:#?}");
        place.ok(&["heal"]);
        // It answers again: what lay in its sockets has been worked off.
        let direct =
            place.status().replicas.into_iter().find(|replica| replica.name.to_string() == "api-1").expect("api-1").url;
        wait_for_answer(&format!("{direct}/data/1"));
        assert!(values(&base).iter().all(|value| value == "second"), "{:?}", values(&base));
    }
    assert!(moved_on > 0, "no write met the paused replica: nothing was proven");
}

#[test]
fn a_conditional_write_to_a_paused_replica_is_in_doubt_and_not_refused() {
    let place = Place::new();
    let base = place.up(&["--replicas", "3"]).base_url;
    place.ok(&["fault", "pause", "api-1"]);
    let answers = put_all(&base, "conditional", Some("\"1\""));
    place.ok(&["heal"]);
    let in_doubt: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(!in_doubt.is_empty(), "no write met the paused replica: nothing was proven");
    for answer in in_doubt {
        assert!(answer.status == 504 && answer.body.contains("gateway_timeout"), "{answer:?}");
    }
}

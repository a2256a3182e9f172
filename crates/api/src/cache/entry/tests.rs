use proptest::prelude::*;

use super::*;

fn record(id: i64, stamp: i64) -> Entry {
    let body = format!(r#"{{"id":{id},"name":"a"}}"#);
    Entry::new(Kind::Record, Stamp::of_version(stamp), now_ms(), Duration::from_secs(30), body.as_bytes())
}

#[test]
fn an_entry_comes_back_as_it_was_stored() {
    let entry = record(7, 3);
    let back = Entry::decode_record(entry.encoded().to_vec(), 7).expect("whole");
    assert_eq!(
        (back.stamp, back.kind(), back.clone().into_body()),
        (entry.stamp, Kind::Record, entry.clone().into_body())
    );
    assert_eq!((back.age(), back.fresh_for(), back.old_for()), (0, Some(30), Duration::ZERO));
}

#[test]
fn an_old_entry_is_not_fresh_and_has_an_age() {
    let long_ago = now_ms() - 5_500;
    let entry = Entry::new(Kind::Record, Stamp::of_version(1), long_ago, Duration::from_secs(2), b"");
    assert_eq!((entry.fresh_for(), entry.age()), (None, 5));
    assert!(entry.old_for() >= Duration::from_millis(3_500), "{:?}", entry.old_for());
}

#[test]
fn a_shorter_setting_counts_for_entries_that_are_there() {
    let mut entry = record(1, 1);
    entry.limit_freshness(Duration::from_secs(2));
    assert!(entry.fresh_for().is_some_and(|left| left <= 2), "{:?}", entry.fresh_for());
}

#[test]
fn stamps_order_as_texts_as_they_do_as_numbers() {
    for (a, b) in [(0, 1), (9, 10), (99, 1_000_000_000_000), (1, i64::MAX)] {
        assert!(Stamp::of_version(a).to_string() < Stamp::of_version(b).to_string());
    }
    assert!(Stamp::of_version(i64::MAX).next() < Stamp::HOLD);
    assert_eq!(Stamp::HOLD.to_string().len(), STAMP);
}

#[test]
fn what_is_cut_or_of_another_key_is_corrupt() {
    let good = record(12, 1);
    for cut in 0..good.encoded().len() {
        assert!(Entry::decode_record(good.encoded()[..cut].to_vec(), 12).is_err(), "{cut}");
    }
    for other in [1, 2, 112, 121, 0] {
        assert!(Entry::decode_record(good.encoded().to_vec(), other).is_err(), "{other}");
    }
    let missing = Entry::new(Kind::Missing, Stamp::NONE, now_ms(), Duration::from_secs(2), b"12");
    assert!(Entry::decode_record(missing.encoded().to_vec(), 12).is_ok());
    assert!(Entry::decode_record(missing.encoded().to_vec(), 13).is_err());
    assert!(Entry::decode_page(good.encoded().to_vec()).is_err());
    for junk in [&b""[..], b"junk", b"x\0\xff"] {
        assert!(Entry::decode_record(junk.to_vec(), 12).is_err() && Entry::decode_page(junk.to_vec()).is_err());
    }
}

/// A record's body that contains the delimiters of other bodies.
fn body(id: i64, name: &str, version: u64) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({ "id": id, "name": name, "value": name, "version": version })).expect("JSON")
}

fn any_record() -> impl Strategy<Value = (i64, Entry)> {
    let name = prop_oneof![r#"[{}\[\],:"0-9a-z\\]{0,40}"#, "\\PC{0,40}"];
    let times = (0..=now_ms(), 0..10_000_000u64);
    (1..=i64::MAX, name, 1..=i64::MAX, times).prop_map(|(id, name, version, (stored, fresh))| {
        let entry = Entry::new(
            Kind::Record,
            Stamp::of_version(version),
            stored,
            Duration::from_millis(fresh),
            &body(id, &name, version.unsigned_abs()),
        );
        (id, entry)
    })
}

fn same(a: &Entry, b: &Entry) -> bool {
    (a.stamp, a.stored_ms, a.fresh_until_ms, a.kind, &a.encoded)
        == (b.stamp, b.stored_ms, b.fresh_until_ms, b.kind, &b.encoded)
}

/// Bytes that resemble an entry: a valid or nearly valid head, and any body.
fn near_entry() -> impl Strategy<Value = Vec<u8>> {
    let head = "[0-9]{20}[0-9]{13}[0-9]{13}0000[0-9]{4}[RMPHx]";
    let rest = prop_oneof![
        r#"\{"id":[0-9]{1,25},[a-z":,{}]{0,20}\}?"#,
        r#"\{"items":\[[a-z":,{}]{0,20}\]\}?"#,
        "[0-9]{0,25}",
    ];
    (head, rest, any::<bool>()).prop_map(|(head, rest, true_length)| {
        let mut text = head + &rest;
        if true_length {
            text.replace_range(HEAD - 1 - LENGTH..HEAD - 1, &format!("{:08}", rest.len()));
        }
        text.into_bytes()
    })
}

proptest! {
    #[test]
    fn any_bytes_are_an_entry_or_corrupt(bytes in proptest::collection::vec(any::<u8>(), 0..200), near in near_entry(), id in any::<i64>()) {
        for bytes in [bytes, near] {
            if let Ok(entry) = Entry::decode_record(bytes.clone(), id) {
                prop_assert_eq!(entry.encoded(), &bytes[..]);
                prop_assert!(entry.clone().into_body().len() == bytes.len() - HEAD && id >= 0);
            }
            if let Ok(mut entry) = Entry::decode_page(bytes.clone()) {
                let (start, end) = (&br#"{"items":["#[..], &b"}"[..]);
                prop_assert!(entry.clone().into_body().starts_with(start) && entry.clone().into_body().ends_with(end));
                entry.limit_freshness(Duration::from_secs(30));
                let _whatever_they_are = (entry.fresh_for(), entry.old_for(), entry.age(), entry.lifetime_ms());
            }
        }
    }

    #[test]
    fn every_record_comes_back((id, entry) in any_record()) {
        let back = Entry::decode_record(entry.encoded().to_vec(), id).expect("whole");
        prop_assert!(same(&back, &entry));
        prop_assert_eq!(back.encoded().len(), HEAD + back.clone().into_body().len());
    }

    #[test]
    fn what_is_cut_or_extended_is_corrupt((id, entry) in any_record(), cut in any::<prop::sample::Index>(), more in "[}\"a-z,:0-9]{1,10}\\}") {
        let whole = entry.encoded();
        for braces in (0..whole.len()).filter(|end| whole[..*end].ends_with(b"}")).chain([cut.index(whole.len())]) {
            prop_assert!(Entry::decode_record(whole[..braces].to_vec(), id).is_err(), "cut at {}", braces);
        }
        for more in [more.as_bytes(), b"}", b"\n", b"\0"] {
            prop_assert!(Entry::decode_record([whole, more].concat(), id).is_err(), "with {:?}", more);
        }
    }

    #[test]
    fn the_entry_of_another_id_is_corrupt((id, entry) in any_record(), other in 1..=i64::MAX, shift in -1000i64..1000) {
        for other in [other, id.saturating_add(shift), id / 10, id.saturating_mul(10), id.saturating_neg(), 0] {
            if other != id {
                prop_assert!(Entry::decode_record(entry.encoded().to_vec(), other).is_err(), "{}", other);
            }
        }
        let missing = Entry::new(Kind::Missing, entry.stamp, now_ms(), Duration::ZERO, id.to_string().as_bytes());
        prop_assert!(same(&Entry::decode_record(missing.encoded().to_vec(), id).expect("whole"), &missing));
        if other != id {
            prop_assert!(Entry::decode_record(missing.encoded().to_vec(), other).is_err());
        }
    }

    #[test]
    fn no_time_or_length_changes_the_width_of_the_head(now in any::<u64>(), fresh in any::<u64>(), stamp in any::<i64>()) {
        let entry = Entry::new(Kind::Page, Stamp::of_version(stamp), now, Duration::from_millis(fresh), br#"{"items":[]}"#);
        prop_assert_eq!(entry.clone().into_body(), &br#"{"items":[]}"#[..]);
        match Entry::decode_page(entry.encoded().to_vec()) {
            Ok(back) => prop_assert!(same(&back, &entry)),
            Err(Corrupt) => prop_assert!(now > now_ms(), "only an entry from the future is refused"),
        }
    }
}

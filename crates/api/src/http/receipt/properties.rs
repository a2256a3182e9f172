//! Properties that hold for every `X-Request-Start`.

use axum::http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;

/// The first second of the year 10000, which `OffsetDateTime` cannot represent.
const END: i64 = 253_402_300_800;

fn is_well_formed(text: &str) -> bool {
    let Some((seconds, decimals)) = text.strip_prefix("t=").and_then(|time| time.split_once('.')) else { return false };
    let digits = |text: &str| text.chars().all(|digit| digit.is_ascii_digit());
    let fits = seconds.parse::<i64>().is_ok_and(|seconds| seconds < END);
    digits(seconds) && digits(decimals) && (1..=9).contains(&decimals.len()) && fits
}

proptest! {
    #[test]
    fn a_time_comes_back_with_its_decimals(seconds in 0..END, nanoseconds in 0u32..1_000_000_000, decimals in 1usize..=9) {
        let text = format!("{nanoseconds:09}");
        let kept: u32 = format!("{:0<9}", &text[..decimals]).parse().expect("digits");
        let time = parse(&format!("t={seconds}.{}", &text[..decimals])).expect("a time");
        prop_assert_eq!((time.unix_timestamp(), time.nanosecond()), (seconds, kept));
    }

    #[test]
    fn anything_is_a_time_or_none(text in prop_oneof!["t=[0-9]{0,14}\\.[0-9]{0,11}", "[t=0-9.+-]{0,20}", "\\PC{0,20}"]) {
        prop_assert_eq!(parse(&text).is_some(), is_well_formed(&text), "{}", text);
    }

    #[test]
    fn no_header_lengthens_the_time_of_a_write(
        text in prop_oneof!["t=17[0-9]{8}\\.[0-9]{3}", "[ -~]{0,20}"], twice in any::<bool>(), now in 1_600_000_000i64..1_900_000_000,
        from_proxy in 1u64..5_000, from_now in 1u64..5_000,
    ) {
        let now = OffsetDateTime::from_unix_timestamp(now).expect("a time");
        let (from_proxy, from_now) = (Duration::from_millis(from_proxy), Duration::from_millis(from_now));
        let mut headers = HeaderMap::new();
        for _ in 0..=u8::from(twice) {
            headers.append(X_REQUEST_START, HeaderValue::from_str(&text).expect("visible"));
        }
        let window = WriteWindow { from_proxy: Some(from_proxy), from_now: Some(from_now) };
        let end = Receipt::new(&headers, None, now, window).not_after.expect("there is a window");
        prop_assert!(end <= now + from_now);
        let expected = match parse(&text) {
            Some(sent) if !twice && sent <= now + CLOCK_ALLOWANCE => (sent + from_proxy).min(now + from_now),
            _ => now + from_now,
        };
        prop_assert_eq!(end, expected);
    }
}

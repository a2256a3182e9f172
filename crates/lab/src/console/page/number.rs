//! Numbers as short as they can be read across a room.

/// `0/s`, `0.4/s`, `137/s`, `12.3 k/s`.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        r if r < 0.05 => "0/s".to_owned(),
        r if r < 9.95 => format!("{r:.1}/s"),
        r if r < 9_999.5 => format!("{r:.0}/s"),
        r => format!("{:.1} k/s", r / 1e3),
    }
}

/// nginx measures whole milliseconds: less than one is told as that.
pub(super) fn ms(ms: f64) -> String {
    match ms {
        m if m < 0.1 => "< 1 ms".to_owned(),
        m if m < 9.95 => format!("{m:.1} ms"),
        m if m < 9_999.5 => format!("{m:.0} ms"),
        m => format!("{:.1} s", m / 1e3),
    }
}

pub(super) fn megabytes(bytes: f64) -> String {
    format!("{:.0} MB", bytes / 1e6)
}

/// From 0 to 1, as percent.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 0.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// `12 s`, `3 min`.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds < 99.5 { format!("{:.0} s", seconds.max(0.0)) } else { format!("{:.0} min", seconds / 60.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([rate(0.0), rate(0.44), rate(137.4), rate(12_340.0)], ["0/s", "0.4/s", "137/s", "12.3 k/s"]);
        assert_eq!([ms(0.0), ms(3.44), ms(320.4), ms(12_000.0)], ["< 1 ms", "3.4 ms", "320 ms", "12.0 s"]);
        assert_eq!([percent(0.0), percent(0.004), percent(0.974)], ["0 %", "0.4 %", "97 %"]);
        assert_eq!([megabytes(38.4e6), seconds(12.4), seconds(180.0)], ["38 MB", "12 s", "3 min"]);
    }
}

//! Answers of every shape, cut at every position, and bytes that are not an answer.

use proptest::prelude::*;

use super::*;

/// Feeds `pieces` as if they arrived one by one, then closes.
fn read(to_head_request: bool, pieces: &[&[u8]]) -> Result<Option<(Answer, String)>, ProtocolError> {
    let (mut reader, mut labels) = (ResponseReader::new(), Labels::default());
    reader.begin(to_head_request, &[]);
    let mut answer = None;
    for piece in pieces {
        if let Progress::Done(done) = reader.feed(piece, &mut labels)? {
            answer = Some(done);
        }
    }
    let answer = answer.or_else(|| reader.finish(&mut labels));
    Ok(answer.map(|a| (a, labels.name(a.code).to_owned())))
}

fn status(bytes: &str) -> Result<Option<u16>, ProtocolError> {
    Ok(read(false, &[bytes.as_bytes()])?.map(|(answer, _)| answer.status))
}

#[test]
fn reads_every_kind_of_body() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\neverything until the end",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    ] {
        assert_eq!(status(text), Ok(Some(200)), "{text:?}");
    }
    assert_eq!(status("HTTP/1.1 204 No Content\r\n\r\n"), Ok(Some(204)));
    assert_eq!(read(true, &[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"]).unwrap().unwrap().0.status, 200);
}

#[test]
fn an_answer_cut_short_is_no_answer() {
    for text in [
        "",
        "HTTP/1.1 20",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        assert_eq!(status(text), Ok(None), "{text:?}");
    }
}

#[test]
fn refuses_what_is_not_an_answer() {
    for (text, error) in [
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", ProtocolError::Upgrade),
        ("HTTP/1.1 204 No Content\r\n\r\nsurprise", ProtocolError::ExtraBytes),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxx", ProtocolError::ExtraBytes),
    ] {
        assert_eq!(status(text), Err(error), "{text:?}");
    }
    let redis = "-ERR unknown command 'GET', with args beginning with: '/'\r\n";
    assert!(matches!(status(redis), Err(ProtocolError::Head(_))), "told at once, not by a time-out");
    let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(17);
    assert_eq!(status(&hints), Err(ProtocolError::Informational));
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(MAX_HEAD));
    assert_eq!(status(&endless), Err(ProtocolError::HeadTooLong));
}

#[test]
fn reads_the_code_of_a_problem_and_only_of_a_problem() {
    let body = r#"{"title":"Busy","status":503,"code":"overloaded"}"#;
    let problem = |status: &str, kind: &str, body: &str| {
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}");
        read(false, &[text.as_bytes()]).unwrap().unwrap().1
    };
    assert_eq!(problem("503 X", "application/problem+json; charset=utf-8", body), "overloaded");
    assert_eq!(problem("200 X", "application/json", body), "");
    assert_eq!(problem("503 X", "text/html", body), "");
    assert_eq!(problem("503 X", "application/problem+json", "{\"code\":"), "");
    let long = format!("{{\"detail\":\"{}\",\"code\":\"overloaded\"}}", "x".repeat(MAX_PROBLEM));
    assert_eq!(problem("503 X", "application/problem+json", &long), "", "beyond what is kept");
}

#[test]
fn an_answer_is_held_to_its_checks() {
    let checks: Vec<Check> = ["header:X-Kind=good", "body:ell"].map(|text| text.parse().unwrap()).to_vec();
    let unmet = |text: &str, cut: usize| {
        let (mut reader, mut labels) = (ResponseReader::new(), Labels::default());
        reader.begin(false, &checks);
        let (first, second) = text.as_bytes().split_at(cut);
        let progress = [first, second].map(|piece| reader.feed(piece, &mut labels).unwrap());
        let Progress::Done(answer) = progress[1] else { panic!("{progress:?}") };
        (answer.is_unmet, labels.name(answer.code).to_owned())
    };
    let answer = |kind: &str, body: &str| {
        format!("HTTP/1.1 200 OK\r\nX-Kind: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    for cut in [5, 30, 50] {
        assert_eq!(unmet(&answer("a good one", "hello"), cut), (false, String::new()), "{cut}");
        assert_eq!(unmet(&answer("bad", "hello"), cut), (true, "without header:X-Kind=good".to_owned()), "{cut}");
        assert_eq!(unmet(&answer("good", "h"), cut), (true, "without body:ell".to_owned()), "{cut}");
    }
}

/// Answers of all shapes, mostly well-formed.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..200);
    (0_u8..6, 100_u16..620, body, 0_usize..80).prop_map(|(shape, status, body, extra)| {
        let mut bytes = match shape {
            0 => format!("HTTP/1.1 {status} OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes(),
            1 => format!("HTTP/1.1 {status} OK\r\nContent-Length: {extra}\r\n\r\n").into_bytes(),
            2 => format!("HTTP/1.1 {status} OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()).into_bytes(),
            3 => format!("HTTP/1.{} {status} OK\r\n\r\n", extra % 3).into_bytes(),
            4 => format!("HTTP/1.1 103 Hint\r\n\r\nHTTP/1.1 {status} OK\r\n{}", "A: b\r\n".repeat(extra)).into_bytes(),
            _ => Vec::new(),
        };
        bytes.extend_from_slice(&body);
        if shape == 2 {
            bytes.extend_from_slice(b"\r\n0\r\n\r\n");
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// The result does not depend on how the bytes are cut, and nothing panics.
    #[test]
    fn the_cuts_do_not_matter(bytes in answers(), cuts in prop::collection::vec(0_usize..400, 0..12), head in any::<bool>()) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).filter(|p| !p.is_empty()).collect();
        let (whole, cut) = (read(head, &[&bytes]), read(head, &pieces));
        match (whole, cut) {
            (Ok(whole), Ok(cut)) => prop_assert_eq!(whole, cut),
            (whole, cut) => prop_assert_eq!(whole.is_err(), cut.is_err(), "{:?} against {:?}", whole, cut),
        }
    }

    /// A valid answer with one flipped byte is parsed or is an error; nothing panics.
    #[test]
    fn a_flipped_byte_does_no_harm(mut bytes in answers(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let pieces: Vec<&[u8]> = bytes.chunks(7).collect();
        let _answer_or_error = read(false, &pieces);
    }

    #[test]
    fn noise_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _answer_or_error = read(false, &[&bytes]);
    }
}

/// Mutates valid answers for a given time and cuts them at random: nothing may panic, hang or depend on the cuts.
/// Ten minutes of it: `FUZZ_SECONDS=600 cargo test --release -p loadgen --lib fuzz`.
#[test]
fn fuzz() {
    #[expect(clippy::disallowed_methods, reason = "the caller of the test sets the duration")]
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let begin = std::time::Instant::now();
    let mut chance = fastrand::Rng::with_seed(begin.elapsed().as_nanos() as u64 ^ u64::from(std::process::id()));
    let seed = chance.u64(..);
    println!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut answers = 0_u64;
    while begin.elapsed().as_secs_f64() < seconds {
        let bytes = mutated(&mut chance);
        let mut pieces = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(chance.usize(1..=rest.len()));
            pieces.push(piece);
            rest = after;
        }
        let head = chance.bool();
        match (read(head, &[&bytes]), read(head, &pieces)) {
            (Ok(whole), Ok(cut)) => assert_eq!(whole, cut, "{:?}", String::from_utf8_lossy(&bytes)),
            (whole, cut) => assert_eq!(whole.is_err(), cut.is_err(), "{:?}", String::from_utf8_lossy(&bytes)),
        }
        answers += 1;
    }
    println!("{answers} answers");
}

const SEEDS: [&[u8]; 7] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Instance: api-1\r\nCache-Status: redis; hit; ttl=3\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nuntil the end",
    b"HTTP/1.1 503 Busy\r\nContent-Type: application/problem+json\r\nContent-Length: 21\r\n\r\n{\"code\":\"overloaded\"}",
    b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n",
];

/// One or two of the seeds with a few bytes flipped, inserted, removed, duplicated or swapped.
fn mutated(chance: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = SEEDS[chance.usize(0..SEEDS.len())].to_vec();
    if chance.u8(0..4) == 0 {
        bytes.extend_from_slice(SEEDS[chance.usize(0..SEEDS.len())]);
    }
    for _ in 0..chance.usize(0..6) {
        let at = chance.usize(0..=bytes.len());
        match chance.u8(0..6) {
            0 if at < bytes.len() => bytes[at] = chance.u8(..),
            1 if at < bytes.len() => bytes[at] ^= 1 << chance.u8(0..8),
            2 => bytes.insert(at, *chance.choice(b"\r\n:;, 0f").unwrap_or(&0)),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => {
                let end = (at + chance.usize(0..20)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                let to = chance.usize(0..=bytes.len());
                bytes.splice(to..to, part);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

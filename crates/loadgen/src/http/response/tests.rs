//! Answers in every shape and cut at every place, and bytes that are no answers at all.

use proptest::prelude::*;

use super::*;

/// Feeds `pieces` as if they arrived one by one, then closes.
fn read(to_head_request: bool, pieces: &[&[u8]]) -> Result<Option<(Answer, String)>, ProtocolError> {
    let (mut reader, mut labels) = (ResponseReader::new(), Labels::default());
    reader.begin(to_head_request);
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

    /// However the bytes are cut, the outcome is the same as in one piece, and nothing panics.
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

    /// One flipped byte anywhere in a good answer ends in an answer or in an error, never in a panic.
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

use super::*;

/// The framing by these values of Content-Length and Transfer-Encoding.
fn read(lengths: &[&str], codings: &[&str]) -> Result<Option<Framing>, Flaw> {
    let mut read = Lengths::default();
    for value in lengths {
        read.length(value.as_bytes())?;
    }
    for value in codings {
        read.transfer_encoding(value.as_bytes())?;
    }
    read.agree()?;
    assert_eq!(read.is_chunked(), !codings.is_empty());
    Ok(read.framing())
}

#[test]
fn a_length_is_plain_digits() {
    for (value, length) in [
        ("0", 0),
        ("7", 7),
        ("42", 42),
        ("1234567890", 1_234_567_890),
        ("007", 7),
        ("999999999999999999", 999_999_999_999_999_999),
    ] {
        assert_eq!(read(&[value], &[]), Ok(Some(Framing::Length(length))), "{value}");
    }
    for value in ["", " 1", "1 ", "+1", "-1", "1.0", "1,1", "0x1", "a", "1000000000000000000"] {
        assert_eq!(read(&[value], &[]), Err(Flaw::Length), "{value:?}");
    }
}

#[test]
fn the_headers_of_one_message_agree_or_it_is_not_read() {
    for (lengths, codings, expected) in [
        (&[][..], &[][..], Ok(None)),
        (&["5", "5"], &[], Ok(Some(Framing::Length(5)))),
        (&["5", "05"], &[], Ok(Some(Framing::Length(5)))),
        (&["5", "5", "6"], &[], Err(Flaw::Length)),
        (&["0", "5"], &[], Err(Flaw::Length)),
        (&[], &["chunked"], Ok(Some(Framing::Chunked))),
        (&[], &["CHUNKED"], Ok(Some(Framing::Chunked))),
        (&[], &["chunked", "chunked"], Err(Flaw::TransferEncoding)),
        (&[], &["gzip"], Err(Flaw::TransferEncoding)),
        (&[], &["gzip, chunked"], Err(Flaw::TransferEncoding)),
        (&["5"], &["chunked"], Err(Flaw::LengthAndTransferEncoding)),
        (&["0"], &["chunked"], Err(Flaw::LengthAndTransferEncoding)),
    ] {
        assert_eq!(read(lengths, codings), expected, "{lengths:?} {codings:?}");
    }
}

#[test]
fn a_body_ends_where_its_head_said() {
    for (framing, pieces, own, over) in [
        (Framing::None, &["GET /"][..], &[0][..], true),
        (Framing::Length(0), &["GET /"], &[0], true),
        (Framing::Length(5), &["hel", "lo", "GET /"], &[3, 2, 0], true),
        (Framing::Length(5), &["helloGET /"], &[5], true),
        (Framing::Length(5), &["hel"], &[3], false),
        (Framing::Chunked, &["5\r\nhe", "llo\r\n0\r\n", "\r\nGET /"], &[5, 8, 2], true),
        (Framing::Chunked, &["5\r\nhe", "llo\r\n0\r\n"], &[5, 8], false),
        (Framing::UntilClose, &["hello", "", "more"], &[5, 0, 4], false),
    ] {
        let mut body = Body::new(framing);
        let counted: Vec<_> = pieces.iter().map(|piece| body.scan(piece.as_bytes())).collect();
        let expected: Vec<_> = own.iter().map(|&own| Ok(own)).collect();
        assert_eq!(counted, expected, "{framing:?} {pieces:?}");
        assert_eq!(body.is_over(), over, "{framing:?} {pieces:?}");
        assert_eq!(body.lasts_until_close(), framing == Framing::UntilClose);
    }
}

#[test]
fn only_chunked_bodies_have_trailers() {
    for (framing, bytes, trailers) in [
        (Framing::Chunked, "5\r\nhello\r\n", 0),
        (Framing::Chunked, "0\r\n", 0),
        (Framing::Chunked, "0\r\n\r\nmore", 2),
        (Framing::Chunked, "1;a=\"b\"\r\nx\r\n0\r\nX: y\r\nZ:\r\n\r\nmore", 12),
        (Framing::Chunked, "0\r\nX: y\r\n\r", 7),
        (Framing::Length(9), "0\r\nX: y\r\n\r\n", 0),
        (Framing::UntilClose, "0\r\nX: y\r\n\r\n", 0),
    ] {
        let mut body = Body::new(framing);
        body.scan(bytes.as_bytes()).expect("a good body");
        assert_eq!(body.trailers(), trailers, "{framing:?} {bytes:?}");
    }
}

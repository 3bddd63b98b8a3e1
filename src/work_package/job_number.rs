//! The number of the job in a package that cannot be read, so that whoever waits for that job gets the reason.
//!
//! A wrong number would tell somebody else's job, so only what stands behind the name `jobId` counts, in no object
//! within the outermost one and in no text, and only where all that is found agrees. Works on bytes: what is no UTF-8 has its
//! number in ASCII all the same.

/// The one number that stands behind `jobId` in a package that cannot be read, or in the beginning of one, in whatever case and with
/// whatever quotes.
#[must_use]
pub fn find(raw: &[u8]) -> Option<i32> {
    // UTF-16 writes ASCII with a zero beside each byte.
    let mut bytes: Vec<u8> = raw.iter().copied().filter(|byte| *byte != 0).collect();
    let is_sign = |byte: &u8| !byte.is_ascii() || byte.is_ascii_whitespace();
    let begins_at = bytes.iter().position(|byte| !is_sign(byte))?;
    if bytes[begins_at] == b'"' {
        bytes = without_escapes(&bytes[begins_at + 1..]);
    }
    let mut found = None;
    let mut scan = Scan::default();
    for at in 0..bytes.len() {
        if scan.is_outside(bytes[at])
            && let Some(number) = number_at(&bytes, at)
            && found.replace(number).is_some_and(|other| other != number)
        {
            return None;
        }
    }
    found
}

/// A text that holds JSON, taken out of its own quotes.
fn without_escapes(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        plain.extend(if *byte == b'\\' { rest.next() } else { Some(byte) });
    }
    plain
}

/// Where a scan from the first byte on stands.
#[derive(Default)]
struct Scan {
    is_in_text: bool,
    is_escaped: bool,
    objects: usize,
}

impl Scan {
    /// Goes on by a byte. Returns whether a name of the outermost object may begin there.
    fn is_outside(&mut self, byte: u8) -> bool {
        let may_begin = !self.is_in_text && self.objects <= 1;
        if std::mem::take(&mut self.is_escaped) {
            return false;
        }
        match byte {
            b'\\' => self.is_escaped = self.is_in_text,
            b'"' => self.is_in_text = !self.is_in_text,
            b'{' if !self.is_in_text => self.objects += 1,
            b'}' if !self.is_in_text => self.objects = self.objects.saturating_sub(1),
            _ => {}
        }
        may_begin
    }
}

/// The number of `"jobId": 27`, `'job_id':'27 '`, `"jobId": "+27"` or `jobId: 27.0` that begins here.
fn number_at(bytes: &[u8], at: usize) -> Option<i32> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$';
    if is_name(bytes[at]) && at.checked_sub(1).is_some_and(|before| is_name(bytes[before])) {
        return None;
    }
    let rest = match bytes[at] {
        quote @ (b'"' | b'\'') => without_name(&bytes[at + 1..])?.strip_prefix(&[quote])?,
        _ => without_name(&bytes[at..])?,
    };
    let rest = skip(rest, is_filling);
    let rest = skip(rest.strip_prefix(b":")?, is_filling);
    let rest = rest.strip_prefix(b"+").unwrap_or(rest);
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = rest.split_at(digits);
    let rest = match rest {
        [b'.', b'0', rest @ ..] => skip(rest, |byte| byte == b'0'),
        rest => rest,
    };
    let ends = rest
        .first()
        .is_none_or(|byte| is_filling(*byte) || matches!(byte, b',' | b'}' | b']'));
    let number: i32 = std::str::from_utf8(number).ok()?.parse().ok()?;
    (ends && number >= 1).then_some(number)
}

/// What stands between a name and its value besides the colon.
fn is_filling(byte: u8) -> bool {
    byte == b'"' || byte == b'\'' || byte.is_ascii_whitespace()
}

fn skip(bytes: &[u8], is_skipped: impl Fn(u8) -> bool) -> &[u8] {
    let count = bytes.iter().take_while(|byte| is_skipped(**byte)).count();
    &bytes[count..]
}

fn without_name(bytes: &[u8]) -> Option<&[u8]> {
    let starts = |bytes: &[u8], name: &[u8]| {
        bytes
            .get(..name.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(name))
    };
    let rest = starts(bytes, b"job").then(|| &bytes[3..])?;
    let rest = rest
        .strip_prefix(b"_")
        .or_else(|| rest.strip_prefix(b"-"))
        .unwrap_or(rest);
    starts(rest, b"id").then(|| &rest[2..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_in_what_cannot_be_read() {
        for raw in [
            &b"{\"jobId\":27,"[..],
            b"{\"jobId\":27",
            b"{\"type\":\"x\",\"jobId\":27},",
            b"{\"type\":\"x\",\"jobId\":27}\0",
            b"{\"prompt\":\"caf\xe9\",\"jobId\":27}",
            b"[{\"jobId\":27}]",
            b"{\"jobId\":\"27 \"}",
            b"{\"jobId\":\"+27\"}",
            b"{\"jobId\":27} and so on",
            b"{\"jobId\" : \" 27\"}",
            b"{\"jobId\":27.0,}",
            b"{\"jobID\":27}",
            b"{\"job_id\":27}",
            b"{'jobId': 27, 'prompt': None}",
            b"{jobId: 27}",
            b"\"{\\\"jobId\\\":27,}\"",
            b"\"{\\\"prompt\\\":\\\"a \\\\\\\"b\\\\\\\"\\\",\\\"jobId\\\":27",
            b"{\"prompt\":\"he said \"hi\"\",\"jobId\":27}",
            b"{\"prompt\":\"he said \"hi\",\"jobId\":27}",
            b"{\"meta\":{\"jobId\":5},\"jobId\":27,}",
            b"{\"jobId\":27,\"jobId\":27,}",
            b"\xef\xbb\xbf{\"jobId\":27,}",
            b"\xff\xfe{\0\"\0j\0o\0b\0I\0d\0\"\0:\x002\x007\0}\0",
        ] {
            assert_eq!(find(raw), Some(27), "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn no_other_number_is_taken_for_it() {
        for raw in [
            &b""[..],
            b"{\"jobId\":}",
            b"{\"jobId\":0}",
            b"{\"jobId\":-27}",
            b"{\"jobId\":27.5}",
            b"{\"jobId\":\"27a\"}",
            b"{\"jobId\":99999999999}",
            b"{\"jobId\":[27]}",
            b"{\"parentJobId\":27}",
            b"{\"parent_job_id\":27}",
            b"{\"jobIds\":27}",
            b"{\"job\":27}",
            b"{\"prompt\":\"\\\"jobId\\\":27\",",
            b"{\"prompt\":\"jobId: 27\",",
            b"{\"data\":{\"jobId\":27},",
            b"[{\"jobId\":27},{\"jobId\":28}]",
            b"{\"jobId\":27,\"jobId\":28,}",
        ] {
            assert_eq!(find(raw), None, "{}", raw.escape_ascii());
        }
    }
}

//! Tells a C2PA manifest from whatever else is kept where manifests are.

/// The type of a manifest store. Source: C2PA Technical Specification 2.2, §11.1.4.2 "Manifest store".
const MANIFEST_STORE: [u8; 16] = *b"c2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71";

/// Whether these bytes begin with a JUMBF superbox whose description says that it is a manifest store.
///
/// Source: ISO/IEC 19566-5 (JUMBF), A.2 and A.3: length, `jumb`, then the box length, `jumd`, type; a length of 1
/// means that eight more bytes have it.
pub(super) fn is_manifest(bytes: &[u8]) -> bool {
    let Some(outer) = content(bytes, b"jumb") else {
        return false;
    };
    content(outer, b"jumd").is_some_and(|description| description.starts_with(&MANIFEST_STORE))
}

/// What is in the box of this kind that `bytes` begin with, or as much of it as is there: a segment may hold its
/// beginning.
fn content<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let rest = rest.strip_prefix(kind)?;
    match u32::from_be_bytes(*length) {
        1 => rest.get(8..),
        2..=8 => None,
        _ => Some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::C2PA_BOX;
    use super::*;

    #[test]
    fn a_box_of_another_type_or_none_is_no_manifest() {
        assert!(is_manifest(C2PA_BOX));
        let long = [b"\0\0\0\x01jumb\0\0\0\0\0\0\0\x35", &C2PA_BOX[8..]].concat();
        assert!(is_manifest(&long));
        for at in 4..32 {
            let mut other = C2PA_BOX.to_vec();
            other[at] ^= 1;
            // The length of the description does not matter here.
            assert_eq!(is_manifest(&other), (8..12).contains(&at), "{at}");
        }
        for end in 0..32 {
            assert!(!is_manifest(&C2PA_BOX[..end]), "{end}");
        }
        assert!(!is_manifest(
            b"a prompt in the place of a manifest, longer than one"
        ));
    }
}

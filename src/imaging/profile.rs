//! Colour profiles: kept where they are ones, and small.

/// Larger ones are left out: they are made for printing presses, and a picture for a screen weighs less.
pub(super) const MAX_PROFILE_BYTES: usize = 16 * 1024;

/// Whether this is a profile for pixels as pictures have them, and small enough.
///
/// Source: ICC.1:2022, §7.2 "Profile header": the colour space of the data stands at byte 16.
pub(super) fn is_kept(profile: &[u8]) -> bool {
    let spaces: [&[u8]; 3] = [b"RGB ", b"GRAY", b"CMYK"];
    profile.len() <= MAX_PROFILE_BYTES && profile.get(16..20).is_some_and(|space| spaces.contains(&space))
}

/// A profile as PNG packs it, without the name that somebody has given it. Nothing of one that is larger when it is
/// unpacked.
///
/// Source: Portable Network Graphics (PNG) Specification, third edition, §11.3.2.3 "iCCP": name, 0, method 0, zlib.
pub(super) fn repacked(content: &[u8]) -> Option<Vec<u8>> {
    let name = content.iter().take(80).position(|&byte| byte == 0)?;
    let packed = content[name + 1..].strip_prefix(&[0])?;
    let mut profile = Vec::new();
    let most = MAX_PROFILE_BYTES as u64 + 1;
    let mut unpacked = std::io::Read::take(flate2::bufread::ZlibDecoder::new(packed), most);
    std::io::Read::read_to_end(&mut unpacked, &mut profile).ok()?;
    if !is_kept(&profile) {
        return None;
    }
    let mut packer = flate2::write::ZlibEncoder::new(b"ICC\0\0".to_vec(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packer, &profile).ok()?;
    packer.finish().ok()
}

//! What the header and the scans of a JPEG say: which channels there are, what they take when they are decoded, and
//! whether all of them have been told of.

use super::{BadPicture, Format, check_size};

/// The most scans. Encoders make up to a dozen; decoding each takes as long as the first.
const MAX_SCANS: usize = 100;
const PROGRESSIVE: u8 = 0xc2;
/// What of a channel nobody has told yet.
const NOTHING: u8 = u8::MAX;

pub(super) struct Frame {
    pub(super) width_px: u32,
    pub(super) height_px: u32,
    is_progressive: bool,
    channels: Vec<Channel>,
    scans: usize,
    /// Whether the first scan has all channels, so that pixels are finished row by row.
    is_interleaved: bool,
}

struct Channel {
    id: u8,
    /// Blocks of 8 × 8 in a unit, across and down: 1 to 4 each.
    across: u64,
    down: u64,
    /// Of each coefficient, how many of its lowest bits are missing.
    missing: [u8; 64],
}

impl Frame {
    /// Source: ITU-T T.81, B.2.2 "Frame header syntax".
    pub(super) fn read(content: &[u8], marker: u8) -> Result<Self, BadPicture> {
        let &[
            _,
            height_high,
            height_low,
            width_high,
            width_low,
            count,
            ref channels @ ..,
        ] = content
        else {
            return Err(corrupt("its header is too short".to_owned()));
        };
        let width_px = u32::from(u16::from_be_bytes([width_high, width_low]));
        let height_px = u32::from(u16::from_be_bytes([height_high, height_low]));
        check_size(Format::Jpeg, width_px, height_px)?;
        if !matches!(count, 1 | 3 | 4) || channels.len() != usize::from(count) * 3 {
            return Err(corrupt(format!("its header tells of {count} channels")));
        }
        let channels = channels.as_chunks::<3>().0.iter();
        let channels = channels.map(|&[id, sampling, _]| Channel {
            id,
            across: u64::from(sampling >> 4),
            down: u64::from(sampling & 0xf),
            missing: [NOTHING; 64],
        });
        let channels: Vec<Channel> = channels.collect();
        if channels
            .iter()
            .any(|channel| !(1..=4).contains(&channel.across) || !(1..=4).contains(&channel.down))
        {
            return Err(corrupt("its header tells of channels of no size".to_owned()));
        }
        Ok(Self {
            width_px,
            height_px,
            is_progressive: marker == PROGRESSIVE,
            channels,
            scans: 0,
            is_interleaved: false,
        })
    }

    /// Takes note of a scan. Source: ITU-T T.81, B.2.3 "Scan header syntax".
    pub(super) fn scan(&mut self, content: &[u8]) -> Result<(), BadPicture> {
        let wrong = || corrupt("the header of its pixels is wrong".to_owned());
        let (&count, rest) = content.split_first().ok_or_else(wrong)?;
        let (channels, rest) = rest.split_at_checked(usize::from(count) * 2).ok_or_else(wrong)?;
        let &[first, last, bits] = rest else {
            return Err(wrong());
        };
        if self.scans == 0 {
            self.is_interleaved = usize::from(count) == self.channels.len();
        }
        self.scans += 1;
        if self.scans > MAX_SCANS {
            return Err(BadPicture::TooMany {
                format: Format::Jpeg,
                most: MAX_SCANS,
                what: "scans",
            });
        }
        let (first, last, missing) = match self.is_progressive {
            true => (first, last, bits & 0xf),
            false => (0, 63, 0),
        };
        for id in channels.iter().step_by(2) {
            let mut named = self.channels.iter_mut().filter(|channel| channel.id == *id);
            let channel = named.next().ok_or_else(wrong)?;
            let told = channel.missing.get_mut(usize::from(first)..=usize::from(last));
            told.ok_or_else(wrong)?.fill(missing);
        }
        Ok(())
    }

    pub(super) fn has_scan(&self) -> bool {
        self.scans > 0
    }

    /// Whether all of every channel has been told, if what was told is whole.
    pub(super) fn is_told(&self) -> bool {
        self.channels.iter().all(|channel| channel.missing == [0; 64])
    }

    /// What decoding takes, from above: the pixels, and where they are not finished row by row, all coefficients in
    /// 16 bits.
    pub(super) fn decoded_bytes(&self) -> u64 {
        let pixels = u64::from(self.width_px) * u64::from(self.height_px);
        let colours = if self.channels.len() == 1 { 1 } else { 3 };
        if self.is_interleaved && !self.is_progressive {
            return pixels * colours;
        }
        let widest = |of: fn(&Channel) -> u64| self.channels.iter().map(of).max().unwrap_or(1) * 8;
        let units = |side_px: u32, unit_px: u64| u64::from(side_px).div_ceil(unit_px);
        let units = units(self.width_px, widest(|channel| channel.across))
            * units(self.height_px, widest(|channel| channel.down));
        let blocks = self.channels.iter().map(|channel| channel.across * channel.down);
        pixels * colours + units * blocks.sum::<u64>() * 64 * 2
    }
}

pub(super) fn corrupt(details: String) -> BadPicture {
    BadPicture::Corrupt {
        format: Format::Jpeg,
        details,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decoding_takes_is_known_from_the_headers() {
        let header = |channels: &[[u8; 3]]| {
            let count = u8::try_from(channels.len()).unwrap();
            [&[8, 0, 64, 0, 128, count], channels.as_flattened()].concat()
        };
        let scan = |ids: &[u8]| {
            let channels: Vec<u8> = ids.iter().flat_map(|id| [*id, 0]).collect();
            [&[u8::try_from(ids.len()).unwrap()], &channels[..], &[0, 63, 0]].concat()
        };
        let pixels = 64 * 128;
        let whole = [[1, 0x11, 0], [2, 0x11, 0], [3, 0x11, 0], [4, 0x11, 0]];
        let halved = [[1, 0x22, 0], [2, 0x11, 0], [3, 0x11, 0]];
        for (marker, channels, first, expected) in [
            (0xc0, &whole[..1], &[1][..], pixels),
            (0xc0, &whole[..3], &[1, 2, 3], pixels * 3),
            (0xc0, &whole[..3], &[1], pixels * (3 + 6)),
            (0xc0, &whole[..4], &[1, 2, 3, 4], pixels * 3),
            (0xc0, &whole[..4], &[1], pixels * (3 + 8)),
            (0xc2, &whole[..3], &[1, 2, 3], pixels * (3 + 6)),
            (0xc2, &halved, &[1, 2, 3], pixels * (3 + 3)),
            (0xc0, &halved, &[1, 2, 3], pixels * 3),
        ] {
            let mut frame = Frame::read(&header(channels), marker).unwrap();
            frame.scan(&scan(first)).unwrap();
            assert_eq!(
                frame.decoded_bytes(),
                expected,
                "{marker:x} {channels:?} {first:?}"
            );
        }
        for channels in [&whole[..2], &[], &[[1, 0x01, 0]], &[[1, 0x51, 0]]] {
            assert!(Frame::read(&header(channels), 0xc0).is_err(), "{channels:?}");
        }
    }
}

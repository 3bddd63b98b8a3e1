//! Takes back what a PNG encoder did to each row of pixels so that it packs better.
//!
//! A pixel depends on the one before it, so that a row cannot be done in wide vectors. What can be had is the
//! shortest way from one pixel to the next: all channels in one register. The compiler does not find it itself.
//!
//! Source: Portable Network Graphics (PNG) Specification, third edition, §9 "Filtering".

/// Restores one row of pixels of `N` bytes, which is 3 or 4; `M` is four times that. Nothing for a filter that
/// does not exist.
///
/// `above` is the restored row before, or zeroes for the first. All three have the same length.
pub(super) fn unfilter<const N: usize, const M: usize>(
    filter: u8,
    above: &[u8],
    filtered: &[u8],
    row: &mut [u8],
) -> Option<()> {
    match filter {
        0 => row.copy_from_slice(filtered),
        1 => lanes::sub::<N, M>(filtered, row),
        2 => {
            for ((value, &change), &above) in row.iter_mut().zip(filtered).zip(above) {
                *value = change.wrapping_add(above);
            }
        }
        3 => lanes::average::<N, M>(above, filtered, row),
        4 => lanes::paeth::<N, M>(above, filtered, row),
        _ => return None,
    }
    Some(())
}

/// One pixel in the lowest lanes of a register, and four pixels of `N` bytes each, which are `M` bytes, in a turn.
///
/// With three channels the fourth lane holds the next pixel's first: it is computed along, stored, and
/// overwritten by the next pixel. What is left at the end of the row is done byte by byte.
#[cfg(target_arch = "x86_64")]
mod lanes {
    use safe_arch::*;

    use super::scalar;

    fn pixel<const N: usize, const M: usize>(four: &[u8; M], index: usize) -> m128i {
        let at = index * N;
        // The last pixel is read together with the byte before it, as there may be none behind it.
        let surplus = (at + 4).saturating_sub(M);
        let bytes = four[at - surplus..]
            .first_chunk()
            .map_or(0, |bytes| u32::from_le_bytes(*bytes));
        set_i32_m128i_s((bytes >> (8 * surplus)).cast_signed())
    }

    fn store<const N: usize, const M: usize>(four: &mut [u8; M], index: usize, pixel: m128i) {
        let at = index * N;
        let end = (at + 4).min(M);
        four[at..end].copy_from_slice(&get_i32_from_m128i_s(pixel).to_le_bytes()[..end - at]);
    }

    pub(super) fn sub<const N: usize, const M: usize>(filtered: &[u8], row: &mut [u8]) {
        let mut left = zeroed_m128i();
        let (fours, rest) = filtered.as_chunks::<M>();
        for (row, filtered) in row.as_chunks_mut::<M>().0.iter_mut().zip(fours) {
            for index in 0..4 {
                left = add_i8_m128i(left, pixel::<N, M>(filtered, index));
                store::<N, M>(row, index, left);
            }
        }
        scalar::sub::<N>(filtered.len() - rest.len(), filtered, row);
    }

    /// Works on the complements of all values: the processor's average rounds up, the filter's down, and
    /// turned over the one is the other.
    pub(super) fn average<const N: usize, const M: usize>(above: &[u8], filtered: &[u8], row: &mut [u8]) {
        let ones = set_splat_i8_m128i(-1);
        let mut left = ones;
        let (fours, rest) = filtered.as_chunks::<M>();
        for ((row, filtered), above) in row
            .as_chunks_mut::<M>()
            .0
            .iter_mut()
            .zip(fours)
            .zip(above.as_chunks::<M>().0)
        {
            for index in 0..4 {
                let above = bitxor_m128i(pixel::<N, M>(above, index), ones);
                left = sub_i8_m128i(average_u8_m128i(left, above), pixel::<N, M>(filtered, index));
                store::<N, M>(row, index, bitxor_m128i(left, ones));
            }
        }
        scalar::average::<N>(filtered.len() - rest.len(), above, filtered, row);
    }

    /// In lanes of sixteen bits.
    pub(super) fn paeth<const N: usize, const M: usize>(above: &[u8], filtered: &[u8], row: &mut [u8]) {
        let zero = zeroed_m128i();
        let (mut left, mut above_left) = (zero, zero);
        let (fours, rest) = filtered.as_chunks::<M>();
        for ((row, filtered), above) in row
            .as_chunks_mut::<M>()
            .0
            .iter_mut()
            .zip(fours)
            .zip(above.as_chunks::<M>().0)
        {
            for index in 0..4 {
                let up = unpack_low_i8_m128i(pixel::<N, M>(above, index), zero);
                let change = unpack_low_i8_m128i(pixel::<N, M>(filtered, index), zero);
                let twice = add_i16_m128i(above_left, above_left);
                let threshold = sub_i16_m128i(sub_i16_m128i(add_i16_m128i(twice, above_left), up), left);
                let (low, high) = (min_i16_m128i(left, up), max_i16_m128i(left, up));
                let is_corner = cmp_gt_mask_i16_m128i(high, threshold);
                let is_not_high = cmp_gt_mask_i16_m128i(threshold, low);
                let low_or_corner = choose(is_corner, above_left, low);
                // Bytes are added, so that nothing is carried into the empty half of a lane.
                left = add_i8_m128i(choose(is_not_high, low_or_corner, high), change);
                above_left = up;
                store::<N, M>(row, index, pack_i16_to_u8_m128i(left, left));
            }
        }
        scalar::paeth::<N>(filtered.len() - rest.len(), above, filtered, row);
    }

    fn choose(mask: m128i, yes: m128i, no: m128i) -> m128i {
        bitor_m128i(bitand_m128i(mask, yes), bitandnot_m128i(mask, no))
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod lanes {
    use super::scalar;

    pub(super) fn sub<const N: usize, const M: usize>(filtered: &[u8], row: &mut [u8]) {
        scalar::sub::<N>(0, filtered, row);
    }

    pub(super) fn average<const N: usize, const M: usize>(above: &[u8], filtered: &[u8], row: &mut [u8]) {
        scalar::average::<N>(0, above, filtered, row);
    }

    pub(super) fn paeth<const N: usize, const M: usize>(above: &[u8], filtered: &[u8], row: &mut [u8]) {
        scalar::paeth::<N>(0, above, filtered, row);
    }
}

/// Byte by byte, from the byte `start` on.
mod scalar {
    pub(super) fn sub<const N: usize>(start: usize, filtered: &[u8], row: &mut [u8]) {
        for at in start..filtered.len() {
            row[at] = filtered[at].wrapping_add(before::<N>(row, at));
        }
    }

    pub(super) fn average<const N: usize>(start: usize, above: &[u8], filtered: &[u8], row: &mut [u8]) {
        for at in start..filtered.len() {
            row[at] = filtered[at].wrapping_add(before::<N>(row, at).midpoint(above[at]));
        }
    }

    pub(super) fn paeth<const N: usize>(start: usize, above: &[u8], filtered: &[u8], row: &mut [u8]) {
        for at in start..filtered.len() {
            let nearest = nearest(before::<N>(row, at), above[at], before::<N>(above, at));
            row[at] = filtered[at].wrapping_add(nearest);
        }
    }

    /// The same channel one pixel to the left, which is 0 outside.
    fn before<const N: usize>(row: &[u8], at: usize) -> u8 {
        at.checked_sub(N).map_or(0, |left| row[left])
    }

    /// Of three neighbours the one that is nearest to left + above − above left.
    fn nearest(left: u8, above: u8, above_left: u8) -> u8 {
        let (to_left, to_above) = (above.abs_diff(above_left), left.abs_diff(above_left));
        let to_corner = (i16::from(left) + i16::from(above) - 2 * i16::from(above_left)).unsigned_abs();
        if to_left <= to_above && u16::from(to_left) <= to_corner {
            left
        } else if u16::from(to_above) <= to_corner {
            above
        } else {
            above_left
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check<const N: usize, const M: usize>(above: &[u8], filtered: &[u8]) {
        let row = |fill: &dyn Fn(&mut [u8])| {
            let mut row = vec![0; filtered.len()];
            fill(&mut row);
            row
        };
        let expected = [
            filtered.to_vec(),
            row(&|row| scalar::sub::<N>(0, filtered, row)),
            filtered
                .iter()
                .zip(above)
                .map(|(change, above)| change.wrapping_add(*above))
                .collect(),
            row(&|row| scalar::average::<N>(0, above, filtered, row)),
            row(&|row| scalar::paeth::<N>(0, above, filtered, row)),
        ];
        for (filter, expected) in (0..).zip(expected) {
            let found = row(&|row| unfilter::<N, M>(filter, above, filtered, row).unwrap());
            assert_eq!(found, expected, "filter {filter}");
        }
        assert_eq!(
            unfilter::<N, M>(5, above, filtered, &mut vec![0; filtered.len()]),
            None
        );
    }

    proptest! {
        #[test]
        fn a_row_is_the_same_in_lanes_and_byte_by_byte(
            pixels in prop::collection::vec(any::<([u8; 4], [u8; 4])>(), 1..40),
        ) {
            let (above, filtered): (Vec<_>, Vec<_>) = pixels.into_iter().unzip();
            check::<4, 16>(above.as_flattened(), filtered.as_flattened());
            let three = |row: &[[u8; 4]]| row.iter().flat_map(|pixel| pixel[..3].to_vec()).collect::<Vec<_>>();
            check::<3, 12>(&three(&above), &three(&filtered));
        }
    }
}

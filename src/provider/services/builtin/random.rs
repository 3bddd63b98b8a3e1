//! Chance that repeats: the same prompt and seed always give the same sequence.

/// SplitMix64 over an FNV-1a hash. Written out here because the numbers are part of the picture: no update of a
/// library may change what a prompt looks like.
pub(super) struct Random(u64);

impl Random {
    /// `parts` are told apart by their borders: `["ab", "c"]` differs from `["a", "bc"]`.
    pub(super) fn from_parts(parts: &[&[u8]]) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut feed = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        for part in parts {
            part.iter().copied().for_each(&mut feed);
            feed(0xff);
        }
        Self(hash)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `low` up to, but not including, `high`.
    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        // 24 bits, as many as a float keeps.
        let part = (self.next() >> 40) as f32 / (1_u32 << 24) as f32;
        low + (high - low) * part
    }

    /// From 0 up to, but not including, `count`, which is at least 1.
    pub(super) fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    pub(super) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    pub(super) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_never_changes() {
        let mut random = Random::from_parts(&[b"a boat", b"7"]);
        let first: Vec<_> = (0..4).map(|_| random.below(1000)).collect();
        assert_eq!(first, [296, 747, 1, 775]);
    }

    #[test]
    fn numbers_stay_in_their_bounds() {
        let mut random = Random::from_parts(&[b"bounds"]);
        for _ in 0..10_000 {
            assert!((-2.0..3.0).contains(&random.between(-2.0, 3.0)));
            assert!(random.below(7) < 7);
        }
    }
}

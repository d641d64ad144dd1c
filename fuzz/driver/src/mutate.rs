//! Seeded mutations: the same seed gives the same inputs.

/// Words that open doors in the formats of this house: containers, start codes, AMF markers, chunk headers.
const WORDS: &[&[u8]] = &[
    b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00",
    b"onMetaData",
    b"connect",
    b"publish",
    b"\x00\x00\x00\x01",
    b"\x00\x00\x01",
    b"\x00\x00\x03",
    b"\x00\x00\x09",
    b"\x00\x00\x00\x01\x67\x64\x00\x1f",
    b"\x01\x64\x00\x1f\xff\xe1",
    b"\x17\x00\x00\x00\x00",
    b"\xaf\x00\x12\x10",
    b"\x90hvc1",
    b"\x90av01",
    b"\xff\xf1\x50\x80",
    b"\x47\x40\x00\x10",
    b"\x00\x00\x00\x08ftyp",
    b"moof",
    b"mdat",
    b"moov",
    b"trun",
    b"OpusHead",
    b"\x03\x00\x00\x00\x00\x00",
    b"\x02\x00\x00\x00\x00\x00\x04\x01\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\x00\x00\x00\x00",
    b"../",
    b"%2e%2e",
    b"?key=",
];
/// Numbers at the borders of their widths.
const BORDERS: &[u8] = &[0, 1, 7, 8, 0x0f, 0x10, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xfe, 0xff];
/// Longest input made by growing one.
const INPUT_BYTES_MAX: usize = 128 * 1024;
/// Most mutations on top of each other.
const STACK_MAX: u64 = 8;

/// An endless row of inputs.
pub(crate) struct Mutator<'a> {
    random: Random,
    seeds: &'a [Vec<u8>],
    next_seed: usize,
}

impl<'a> Mutator<'a> {
    /// # Panics
    /// When there are no seeds.
    pub(crate) fn new(seed: u64, seeds: &'a [Vec<u8>]) -> Self {
        assert!(!seeds.is_empty(), "the corpus has shapes for every target");
        Self { random: Random(seed), seeds, next_seed: 0 }
    }

    /// First every seed as it is, then mutations of them and of random bytes.
    pub(crate) fn next_input(&mut self) -> Vec<u8> {
        if let Some(seed) = self.seeds.get(self.next_seed) {
            self.next_seed += 1;
            return seed.clone();
        }
        let mut input = if self.random.below(8) == 0 { self.noise() } else { self.any_seed().to_vec() };
        for _ in 0..=self.random.below(STACK_MAX) {
            self.mutate(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.index(input.len() + 1);
        match self.random.below(9) {
            0 => self.with_byte(input, at, |byte, random| byte ^ (1 << random.below(8))),
            1 => self.with_byte(input, at, |_, random| random.next() as u8),
            2 => self.with_byte(input, at, |_, random| BORDERS[random.below(BORDERS.len() as u64) as usize]),
            3 => input.truncate(at),
            4 => {
                let end = (at + self.index(64)).min(input.len());
                input.drain(at.min(end)..end);
            }
            5 => {
                let word = WORDS[self.index(WORDS.len())];
                input.splice(at..at, word.iter().copied());
            }
            6 => {
                let word = WORDS[self.index(WORDS.len())];
                let end = (at + word.len()).min(input.len());
                input.splice(at..end, word.iter().copied());
            }
            7 => {
                let end = (at + self.index(256)).min(input.len());
                let piece = input.get(at..end).unwrap_or_default().to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                let other = self.any_seed();
                let from = self.index(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }

    fn with_byte(&mut self, input: &mut [u8], at: usize, change: impl FnOnce(u8, &mut Random) -> u8) {
        if let Some(byte) = input.get_mut(at) {
            *byte = change(*byte, &mut self.random);
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        let length = self.index(512);
        (0..length).map(|_| self.random.next() as u8).collect()
    }

    fn any_seed(&mut self) -> &'a [u8] {
        let index = self.index(self.seeds.len());
        &self.seeds[index]
    }

    fn index(&mut self, below: usize) -> usize {
        self.random.below(below as u64) as usize
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough for tests, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let seeds = vec![b"hello".to_vec(), vec![0; 64]];
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed, &seeds);
            (0..500).map(|_| mutator.next_input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
    }

    #[test]
    fn seeds_come_first_and_mutations_differ() {
        let seeds = vec![b"hello".to_vec()];
        let mut mutator = Mutator::new(1, &seeds);
        assert_eq!(mutator.next_input(), b"hello");
        let different = (0..100).map(|_| mutator.next_input()).filter(|input| input != b"hello").count();
        assert!(different > 80, "{different}");
    }
}

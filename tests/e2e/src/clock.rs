//! A machine-readable clock in the picture, for latency from glass to glass.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Cells of the row; the first is dark.
pub const CLOCK_CELLS: usize = 20;
/// Bits of the Gray code.
const BITS: u32 = 16;
/// What the clock counts, in milliseconds.
const UNIT_MS: u64 = 10;

/// FFmpeg filters that burn the machine's time into the top of the picture: a Gray code, lowest bit first, of the time in
/// units of 10 ms modulo 65,536, one cell of a twentieth of the width for each bit. `players/clock.js` reads it, and so does
/// [`clock_age`].
pub fn clock_filter() -> String {
    let mut filter = format!("drawbox=x=0:y=0:w=iw:h=iw/{CLOCK_CELLS}:color=black:t=fill");
    for bit in 0..BITS {
        let (half, period) = cycle(bit);
        let cell = bit + 1;
        let _ = write!(
            filter,
            ",drawbox=x={cell}*iw/{CLOCK_CELLS}:y=0:w=iw/{CLOCK_CELLS}:h=iw/{CLOCK_CELLS}:color=white:t=fill:\
             enable='mod(floor((floor(time(0)*{})+{half})/{period})\\,2)'",
            1_000 / UNIT_MS,
        );
    }
    filter
}

/// FFmpeg filters that leave nothing but the clock: one grey pixel for each of the [`CLOCK_CELLS`], from its middle.
pub fn clock_strip_filter() -> String {
    format!("crop=iw:iw/40:0:iw/80,scale={CLOCK_CELLS}:1:flags=area,format=gray")
}

/// How old a picture is at `now`, by its clock: below 656 s, in steps of 10 ms.
pub fn clock_age(cells: &[u8; CLOCK_CELLS], now: SystemTime) -> Duration {
    let now_ms = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let behind = (now_ms / UNIT_MS).wrapping_sub(read(cells)) % (1 << BITS);
    Duration::from_millis(behind * UNIT_MS)
}

/// Bit i of the Gray code of v is `floor((v + half) / period)` modulo 2. The highest bit is the number's own: the number goes
/// on beyond it, and what is read is its remainder.
fn cycle(bit: u32) -> (u64, u64) {
    if bit == BITS - 1 { (0, 1 << bit) } else { (1 << bit, 1 << (bit + 1)) }
}

fn read(cells: &[u8; CLOCK_CELLS]) -> u64 {
    let lights = cells[1..=BITS as usize].iter().rev().map(|&light| u64::from(light > 127));
    lights.fold((0, 0), |(value, above), light| (value << 1 | (above ^ light), above ^ light)).0
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn what_the_formula_writes_is_read() {
        for value in (0_u64..150_000).chain([179_550_000_000 - 1, 179_550_000_000]) {
            let mut cells = [0; CLOCK_CELLS];
            for bit in 0..BITS {
                let (half, period) = cycle(bit);
                cells[bit as usize + 1] = if ((value + half) / period) % 2 == 1 { 255 } else { 0 };
            }
            assert_eq!(read(&cells), value % 65_536);
        }
    }

    #[test]
    fn one_cell_changes_at_a_time() {
        let code = |value: u64| (0..BITS).map(|bit| (value + cycle(bit).0) / cycle(bit).1 % 2).collect::<Vec<_>>();
        for value in 0_u64..150_000 {
            let (before, after) = (code(value), code(value + 1));
            let changes = before.iter().zip(&after).filter(|(a, b)| a != b).count();
            assert_eq!(changes, 1, "{value}");
        }
    }

    /// Pictures of several sizes, through FFmpeg.
    #[test]
    fn ffmpeg_burns_in_the_time() {
        for size in ["1280x720", "640x360", "426x240"] {
            let began = SystemTime::now();
            let mut child = Command::new("ffmpeg")
                .args(["-v", "error", "-f", "lavfi", "-i", &format!("testsrc2=size={size}:rate=30,format=yuv420p")])
                .args(["-frames:v", "20", "-vf", &format!("{},{}", clock_filter(), clock_strip_filter())])
                .args(["-f", "rawvideo", "pipe:1"])
                .stdout(Stdio::piped())
                .spawn()
                .expect("FFmpeg is installed");
            let mut pictures = Vec::new();
            child.stdout.take().expect("piped").read_to_end(&mut pictures).expect("FFmpeg writes");
            assert!(child.wait().expect("FFmpeg ends").success());
            let ended = SystemTime::now();
            assert_eq!(pictures.len(), 20 * CLOCK_CELLS);
            let longest = ended.duration_since(began).expect("time goes on") + Duration::from_millis(2 * UNIT_MS);
            for cells in pictures.chunks_exact(CLOCK_CELLS) {
                let age = clock_age(cells.try_into().expect("a whole row"), ended);
                assert!(age <= longest, "{size}: {age:?} of {longest:?}: {cells:?}");
            }
        }
    }
}

//! A machine-readable clock in the picture, for latency from glass to glass.

use std::fmt::Write as _;

/// Cells of the row; the first is dark.
const CELLS: u32 = 20;
/// Bits of the Gray code.
const BITS: u32 = 16;

/// FFmpeg filters that burn the machine's time into the top of the picture: a Gray code, lowest bit first, of the time in
/// units of 10 ms modulo 65,536, one cell of a twentieth of the width for each bit. `players/clock.js` reads it.
pub fn clock_filter() -> String {
    let mut filter = format!("drawbox=x=0:y=0:w=iw:h=iw/{CELLS}:color=black:t=fill");
    for bit in 0..BITS {
        // Bit i of the Gray code of v is floor((v + 2^i) / 2^(i+1)) modulo 2.
        let (half, period) = (1_u64 << bit, 1_u64 << (bit + 1));
        let cell = bit + 1;
        let _ = write!(
            filter,
            ",drawbox=x={cell}*iw/{CELLS}:y=0:w=iw/{CELLS}:h=iw/{CELLS}:color=white:t=fill:\
             enable='mod(floor((floor(time(0)*100)+{half})/{period})\\,2)'"
        );
    }
    filter
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_formula_is_the_gray_code() {
        for value in 0_u64..70_000 {
            let gray = value ^ (value >> 1);
            for bit in 0..16 {
                let formula = ((value + (1 << bit)) / (1 << (bit + 1))) % 2;
                assert_eq!(formula, (gray >> bit) & 1, "bit {bit} of {value}");
            }
        }
    }
}

//! Posters.

use media::Sample;
use transcode::{Capabilities, Error, thumbnail};

use crate::support::{Published, capabilities};

/// Width and height from a JPEG's SOF0 segment (ITU-T T.81 B.2.2).
fn size(jpeg: &[u8]) -> (u16, u16) {
    let at = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    let be = |from: usize| u16::from_be_bytes([jpeg[from], jpeg[from + 1]]);
    (be(at + 7), be(at + 5))
}

#[tokio::test]
async fn a_keyframe_becomes_a_jpeg() {
    let published = Published::make("1280x720", 30, "");
    let keyframe = published.gops(2..3).swap_remove(0);
    let caps = capabilities().await;
    let posters = (0..4).map(|_| thumbnail(&caps, &published.video, &keyframe, 321));
    for poster in posters {
        assert_eq!(size(&poster.await.unwrap()), (320, 180));
    }
}

#[tokio::test]
async fn what_cannot_be_decoded_is_an_error_with_a_reason() {
    let published = Published::make("320x180", 30, "");
    let caps = capabilities().await;
    let broken = |payload: &'static [u8]| Sample { payload: payload.into(), ..published.samples[0].1.clone() };
    let noise = thumbnail(&caps, &published.video, &broken(&[0, 0, 0, 2, 0x65, 0xff]), 320).await;
    assert!(matches!(noise, Err(Error::Exit { .. })), "{noise:?}");
    let cut = thumbnail(&caps, &published.video, &broken(&[0, 0, 9, 9, 1]), 320).await;
    assert!(matches!(cut, Err(Error::Media { .. })), "{cut:?}");
    let sound = thumbnail(&caps, published.audio.as_ref().unwrap(), &broken(&[]), 320).await;
    assert!(matches!(sound, Err(Error::Unsupported(_))), "{sound:?}");
    let absent = thumbnail(&Capabilities::absent("none here"), &published.video, &broken(&[]), 320).await;
    assert!(matches!(absent, Err(Error::Absent { .. })), "{absent:?}");
}

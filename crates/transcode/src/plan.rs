//! From a preset and a source to the renditions worth making on this machine.

use media::{CodecConfig, Track};

use crate::{Capabilities, Config, Encoder, Preset, Rung, Tool};

/// Pictures decoded per second and core, in pixels: H.264 measures 1,800 M on one core of the reference machine for
/// synthetic pictures; camera pictures cost about three times as much.
const DECODE_PIXELS_PER_CORE: f64 = 600e6;
/// Frame rate assumed where neither the header nor a measurement tells.
const FRAME_RATE_ASSUMED: (u32, u32) = (30, 1);
/// A frame rate above this, in pictures per second, is a mistake in a header.
const FRAME_RATE_MAX: f64 = 300.0;
/// Shapes within this ratio of the rung's own are given its exact size (426x240 for 1280x720).
const SHAPE_TOLERANCE: f64 = 0.01;
/// Smallest side worth encoding, in pixels: x264 and players both dislike less.
const SIDE_PIXELS_MIN: u32 = 64;

/// What arrives.
#[derive(Clone, Debug)]
pub struct Source {
    /// The pictures.
    pub video: Track,
    /// The sound.
    pub audio: Option<Track>,
    /// The measured frame rate as a fraction; without it the codec header's, else 30 is assumed.
    pub frame_rate: Option<(u32, u32)>,
    /// The measured bit rate of the pictures, in kbit/s: no rung is given more.
    pub video_kbps: Option<u32>,
}

/// The renditions FFmpeg makes of one source, and why others are not made. The source itself is not among them: it is
/// the top rendition, untouched.
#[derive(Clone, Debug)]
pub struct Plan {
    /// From the costliest to the cheapest picture, then sound. Events name a rendition by its index here.
    pub renditions: Vec<Rendition>,
    /// Rungs of the preset that are left out, each with its reason.
    pub dropped: Vec<Dropped>,
    /// Why there are no renditions at all, when there are none.
    pub passthrough_only: Option<String>,
    /// The estimated load, in cores.
    pub cost_cores: f64,
    pub(crate) source: Source,
    pub(crate) tool: Option<Tool>,
    pub(crate) encoder: Encoder,
}

/// A rung that is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The rung's name.
    pub name: String,
    /// For people: `not smaller than the source (426x240)`.
    pub reason: String,
}

/// One output of FFmpeg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendition {
    /// The rung's name, or `audio`.
    pub name: String,
    /// What is made.
    pub output: Output,
}

/// Pictures or sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// H.264.
    Video(VideoOutput),
    /// AAC, made only of sound that is not AAC.
    Audio {
        /// Bit rate, in kbit/s.
        kbps: u32,
    },
}

/// An H.264 rendition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoOutput {
    /// Pixels, even.
    pub width: u32,
    /// Pixels, even.
    pub height: u32,
    /// Every n-th picture of the source, beside its keyframes; 1 is all of them.
    pub divisor: u32,
    /// Frames per second, as a fraction.
    pub frame_rate: (u32, u32),
    /// Bit rate, in kbit/s.
    pub kbps: u32,
    /// x264's speed preset.
    pub x264_preset: String,
    /// The H.264 profile.
    pub profile: String,
}

impl Source {
    /// The measured frame rate, else the codec header's.
    fn known_frame_rate(&self) -> Option<(u32, u32)> {
        let header = self.video.codec.video().and_then(|info| info.frame_rate);
        self.frame_rate.or(header).filter(|&(numerator, denominator)| {
            denominator != 0 && (1.0..=FRAME_RATE_MAX).contains(&rate((numerator, denominator)))
        })
    }

    fn pixels_per_second(&self) -> f64 {
        let frame_rate = rate(self.known_frame_rate().unwrap_or(FRAME_RATE_ASSUMED));
        self.video.codec.video().map_or(0.0, |info| f64::from(info.width) * f64::from(info.height) * frame_rate)
    }
}

impl Rendition {
    /// The pictures, if it has some.
    pub fn video(&self) -> Option<&VideoOutput> {
        match &self.output {
            Output::Video(video) => Some(video),
            Output::Audio { .. } => None,
        }
    }
}

impl VideoOutput {
    fn pixels_per_second(&self) -> f64 {
        f64::from(self.width) * f64::from(self.height) * rate(self.frame_rate)
    }

    /// The estimated load of encoding it, in cores.
    pub fn cost_cores(&self, encoder: Encoder) -> f64 {
        self.pixels_per_second() / encode_pixels_per_core(encoder, &self.x264_preset)
    }
}

impl Plan {
    /// Whether the frame rate was measured or stands in the codec's header, rather than being assumed.
    pub(crate) fn frame_rate_known(&self) -> bool {
        self.source.known_frame_rate().is_some()
    }

    /// Whether the sound has to go through FFmpeg.
    pub fn makes_audio(&self) -> bool {
        self.renditions.iter().any(|rendition| matches!(rendition.output, Output::Audio { .. }))
    }
}

/// Chooses the renditions of `preset` for `source` on a machine that has `cores` cores left, with the default settings: see
/// [`plan_with`].
pub fn plan(preset: &Preset, source: &Source, caps: &Capabilities, cores: usize) -> Plan {
    plan_with(&Config::default(), preset, source, caps, cores)
}

/// Chooses the renditions of `preset` for `source`: never larger than or as large as the source, in its shape, with even
/// sides, and within the share of the machine that `config` allows. Every rung left out has its reason in
/// [`Plan::dropped`]; [`Plan::passthrough_only`] says why when nothing is left.
pub fn plan_with(config: &Config, preset: &Preset, source: &Source, caps: &Capabilities, cores: usize) -> Plan {
    let mut plan = Plan {
        renditions: Vec::new(),
        dropped: Vec::new(),
        passthrough_only: None,
        cost_cores: 0.0,
        source: source.clone(),
        tool: None,
        encoder: Encoder::X264,
    };
    if let Err(reason) = choose(&mut plan, config, preset, caps, cores) {
        plan.renditions.clear();
        plan.cost_cores = 0.0;
        plan.passthrough_only = Some(reason);
    }
    plan
}

fn choose(plan: &mut Plan, config: &Config, preset: &Preset, caps: &Capabilities, cores: usize) -> Result<(), String> {
    if preset.rungs.is_empty() {
        return Err(format!("the ladder preset is {}", preset.name));
    }
    let tool = caps.tool()?;
    plan.encoder = encoder(config, tool)?;
    readable(&plan.source.video, tool)?;
    fit_rungs(plan, preset)?;
    let budget_cores = cores as f64 * f64::from(config.cpu_percent_max) / 100.0;
    fit_machine(plan, budget_cores);
    if plan.renditions.is_empty() {
        return Err("no rung of the preset fits the source and this machine".into());
    }
    add_audio(plan, preset, tool);
    plan.tool = Some(tool.clone());
    Ok(())
}

fn encoder(config: &Config, tool: &Tool) -> Result<Encoder, String> {
    let wanted = Encoder::ALL.into_iter().find(|encoder| encoder.name() == config.encoder);
    let wanted =
        wanted.ok_or_else(|| format!("transcode.encoder {:?} is not one this platform drives", config.encoder))?;
    if tool.encoders.contains(&wanted) {
        return Ok(wanted);
    }
    Err(format!("FFmpeg {} has no {}", tool.version.text, wanted.name()))
}

/// FLV carries H.264 and AAC in every FFmpeg, HEVC, AV1 and VP9 since 6.1, Opus and AC-3 since 8.0.
fn readable(track: &Track, tool: &Tool) -> Result<(), String> {
    let since = match &*track.codec {
        CodecConfig::Avc(_) | CodecConfig::Aac(_) => (0, 0),
        CodecConfig::Hevc(_) | CodecConfig::Av1(_) | CodecConfig::Vp9(_) => (6, 1),
        CodecConfig::Opus(_) | CodecConfig::Ac3(_) => (8, 0),
    };
    if tool.version.number >= since {
        return Ok(());
    }
    let (name, version, (major, minor)) = (track.codec.name(), &tool.version.text, since);
    Err(format!(
        "Unsupported source for this FFmpeg: {name} needs {major}.{minor}, this is {version}; passthrough only"
    ))
}

fn fit_rungs(plan: &mut Plan, preset: &Preset) -> Result<(), String> {
    let info = plan.source.video.codec.video().ok_or("the source has no pictures")?;
    let (width, height) = (info.width, info.height);
    if width == 0 || height == 0 {
        return Err("the source does not tell its picture size".into());
    }
    let frame_rate = plan.source.known_frame_rate().unwrap_or(FRAME_RATE_ASSUMED);
    for rung in &preset.rungs {
        match fit(rung, (width, height)) {
            Ok((width, height)) => {
                let kbps = plan.source.video_kbps.map_or(rung.video_kbps, |source| rung.video_kbps.min(source.max(1)));
                let divisor = divisor(frame_rate, rung.frame_rate_max);
                plan.renditions.push(Rendition {
                    name: rung.name.clone(),
                    output: Output::Video(VideoOutput {
                        width,
                        height,
                        divisor,
                        frame_rate: (frame_rate.0, frame_rate.1.saturating_mul(divisor)),
                        kbps,
                        x264_preset: preset.x264_preset.clone(),
                        profile: preset.profile.clone(),
                    }),
                });
            }
            Err(reason) => plan.dropped.push(Dropped { name: rung.name.clone(), reason }),
        }
    }
    Ok(())
}

/// The rung's size for a picture of `source` pixels: inside the rung's box (turned for a portrait picture), in the
/// picture's shape, even.
fn fit(rung: &Rung, source: (u32, u32)) -> Result<(u32, u32), String> {
    let (width, height) = source;
    let (box_width, box_height) = if height > width { (rung.height, rung.width) } else { (rung.width, rung.height) };
    if box_width >= width && box_height >= height || box_width.min(box_height) >= width.min(height) {
        return Err(format!("not smaller than the source ({width}x{height})"));
    }
    let shape = f64::from(width) / f64::from(height);
    let box_shape = f64::from(box_width) / f64::from(box_height);
    let size = if (shape / box_shape - 1.0).abs() < SHAPE_TOLERANCE {
        (box_width, box_height)
    } else if shape > box_shape {
        (box_width, even(f64::from(box_width) / shape))
    } else {
        (even(f64::from(box_height) * shape), box_height)
    };
    if size.0.min(size.1) < SIDE_PIXELS_MIN {
        return Err(format!("{}x{} is too small for a picture of {width}x{height}", size.0, size.1));
    }
    Ok(size)
}

fn even(side: f64) -> u32 {
    (side / 2.0).round() as u32 * 2
}

fn rate((numerator, denominator): (u32, u32)) -> f64 {
    f64::from(numerator) / f64::from(denominator)
}

/// The smallest n for which every n-th picture is within `frame_rate_max`; 59.94 counts as 60 and 30.3 as 30.
fn divisor(frame_rate: (u32, u32), frame_rate_max: u32) -> u32 {
    (rate(frame_rate) / f64::from(frame_rate_max.max(1)) - 0.02).ceil().max(1.0) as u32
}

/// Pixels per second that one core encodes. x264 measures about twice this with synthetic pictures on one core of the
/// reference machine (240 M at veryfast); camera pictures cost about twice as much. Hardware is not the cores' business.
fn encode_pixels_per_core(encoder: Encoder, x264_preset: &str) -> f64 {
    match (encoder, x264_preset) {
        (Encoder::X264, "ultrafast") => 240e6,
        (Encoder::X264, "superfast") => 170e6,
        (Encoder::X264, "veryfast") => 120e6,
        (Encoder::X264, "faster") => 75e6,
        (Encoder::X264, _) => 50e6,
        _ => 2_000e6,
    }
}

/// Leaves out the costliest rungs until the rest fits.
fn fit_machine(plan: &mut Plan, budget_cores: f64) {
    plan.cost_cores = cost_cores(plan);
    while plan.cost_cores > budget_cores {
        let Some(costliest) = costliest(&plan.renditions, plan.encoder) else { break };
        let rendition = plan.renditions.remove(costliest);
        let reason = format!(
            "this machine is too small: the ladder needs about {:.1} cores with it and may take {budget_cores:.1}",
            plan.cost_cores
        );
        plan.dropped.push(Dropped { name: rendition.name, reason });
        plan.cost_cores = cost_cores(plan);
    }
}

fn cost_cores(plan: &Plan) -> f64 {
    let encode: f64 = plan.renditions.iter().filter_map(Rendition::video).map(|v| v.cost_cores(plan.encoder)).sum();
    if encode == 0.0 {
        return 0.0;
    }
    encode + plan.source.pixels_per_second() / DECODE_PIXELS_PER_CORE
}

/// The index of the rendition whose absence helps most; `None` when no picture is left.
pub(crate) fn costliest(renditions: &[Rendition], encoder: Encoder) -> Option<usize> {
    let cost = |rendition: &Rendition| rendition.video().map(|video| video.cost_cores(encoder));
    let costs = renditions.iter().enumerate().filter_map(|(index, rendition)| Some((index, cost(rendition)?)));
    // Of equals the earlier one, which has the higher bit rate.
    costs.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(index, _)| index)
}

fn add_audio(plan: &mut Plan, preset: &Preset, tool: &Tool) {
    let Some(audio) = plan.source.audio.as_ref().filter(|audio| !matches!(*audio.codec, CodecConfig::Aac(_))) else {
        return;
    };
    let able = if tool.aac { readable(audio, tool) } else { Err("this FFmpeg has no AAC encoder".into()) };
    match able {
        Ok(()) => {
            plan.renditions.push(Rendition { name: "audio".into(), output: Output::Audio { kbps: preset.audio_kbps } })
        }
        Err(reason) => plan.dropped.push(Dropped { name: "audio".into(), reason }),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use media::codec;

    use super::*;
    use crate::Version;

    pub(crate) fn tool(version: &str) -> Tool {
        Tool {
            ffmpeg: "ffmpeg".into(),
            version: Version::parse(&format!("ffmpeg version {version}")).unwrap(),
            encoders: vec![Encoder::X264],
            aac: true,
            font: None,
            setpriv: true,
            nice: true,
        }
    }

    fn caps() -> Capabilities {
        Capabilities::present(tool("5.1.9"))
    }

    pub(crate) fn source(width: u32, height: u32, fps: u32) -> Source {
        let info = codec::VideoInfo { width, height, frame_rate: Some((fps, 1)) };
        let record = Bytes::new();
        let avc = codec::avc::Config { record, sps: vec![], pps: vec![], profile: [100, 0, 31], info };
        Source { video: Track::new(CodecConfig::Avc(avc)), audio: None, frame_rate: None, video_kbps: None }
    }

    fn opus() -> Track {
        let (channels, pre_skip, input_sample_rate, output_gain, mapping_family) = (2, 312, 48_000, 0, 0);
        Track::new(CodecConfig::Opus(codec::opus::Config {
            channels,
            pre_skip,
            input_sample_rate,
            output_gain,
            mapping_family,
        }))
    }

    /// `640x360@60/750` per rendition.
    fn check(preset: &str, source: Source, cores: usize, expected: &[&str]) -> Plan {
        let plan = plan(&Preset::named(preset).unwrap(), &source, &caps(), cores);
        let got = plan.renditions.iter().filter_map(Rendition::video).map(|video| {
            let (numerator, denominator) = video.frame_rate;
            let rate = if denominator == 1 { numerator.to_string() } else { format!("{numerator}/{denominator}") };
            format!("{}x{}@{rate}/{}", video.width, video.height, video.kbps)
        });
        assert_eq!(got.collect::<Vec<_>>(), expected, "{:?}", plan.dropped);
        let rungs = Preset::named(preset).unwrap().rungs.len();
        assert!(
            plan.passthrough_only.is_some() || plan.renditions.len() + plan.dropped.len() == rungs,
            "each rung has its reason"
        );
        plan
    }

    #[test]
    fn sizes_are_exact_for_sixteen_to_nine() {
        check("nott", source(1280, 720, 60), 8, &["640x360@60/750", "426x240@60/400", "426x240@60/200"]);
        let alfg = ["1280x720@30/2500", "854x480@30/1000", "640x360@30/750", "426x240@30/400", "426x240@60/4/200"];
        check(
            "alfg",
            source(1920, 1080, 60),
            8,
            &alfg.map(|rung| rung.replace("@30", "@60/2")).each_ref().map(String::as_str),
        );
        check(
            "default",
            source(1920, 1080, 30),
            8,
            &["1280x720@30/2500", "854x480@30/1200", "640x360@30/700", "426x240@30/350"],
        );
    }

    #[test]
    fn nothing_is_as_large_as_the_source_or_larger() {
        let plan = check("nott", source(426, 240, 30), 8, &[]);
        assert_eq!(plan.dropped[0].reason, "not smaller than the source (426x240)");
        assert!(plan.passthrough_only.is_some());
        check(
            "alfg",
            source(1280, 720, 30),
            8,
            &["854x480@30/1000", "640x360@30/750", "426x240@30/400", "426x240@30/2/200"],
        );
    }

    #[test]
    fn other_shapes_keep_their_shape_inside_the_box() {
        check("nott", source(640, 480, 25), 8, &["480x360@25/750", "320x240@25/400", "320x240@25/200"]);
        check("nott", source(720, 1280, 30), 8, &["360x640@30/750", "240x426@30/400", "240x426@30/200"]);
        check("nott", source(1920, 800, 24), 8, &["640x266@24/750", "426x178@24/400", "426x178@24/200"]);
        check("nott", source(1281, 719, 30), 8, &["640x360@30/750", "426x240@30/400", "426x240@30/200"]);
    }

    #[test]
    fn frame_rates_are_divided_never_exceeded() {
        let check =
            |fps: (u32, u32), max: u32, expected: u32| assert_eq!(divisor(fps, max), expected, "{fps:?} to {max}");
        check((60, 1), 30, 2);
        check((60_000, 1_001), 30, 2);
        check((50, 1), 30, 2);
        check((30, 1), 30, 1);
        check((30_000, 1_001), 15, 2);
        check((25, 1), 15, 2);
        check((60, 1), 15, 4);
        check((10, 1), 30, 1);
    }

    #[test]
    fn a_small_machine_gets_a_smaller_ladder_with_reasons() {
        let rungs = ["1280x720@60/2500", "854x480@60/2/1200", "640x360@60/2/700", "426x240@60/2/350"];
        check("default", source(1920, 1080, 60), 2, &rungs);
        let plan = check("default", source(1920, 1080, 60), 1, &rungs[1..]);
        assert!(
            plan.dropped[1].reason.starts_with("this machine is too small: the ladder needs about 0."),
            "{:?}",
            plan.dropped
        );
        assert!(plan.cost_cores < 0.6);
        check("default", source(3840, 2160, 60), 1, &[]);
    }

    #[test]
    fn no_rung_has_more_bits_than_the_source() {
        let source = Source { video_kbps: Some(500), ..source(1280, 720, 60) };
        check("nott", source, 8, &["640x360@60/500", "426x240@60/400", "426x240@60/200"]);
    }

    #[test]
    fn a_mad_frame_rate_in_a_header_is_not_believed() {
        check("nott", source(1280, 720, 90_000), 8, &["640x360@30/750", "426x240@30/400", "426x240@30/200"]);
    }

    #[test]
    fn what_this_ffmpeg_cannot_read_plays_alone() {
        let info = codec::VideoInfo { width: 1280, height: 720, frame_rate: None };
        let av1 = codec::av1::Config { record: Bytes::new(), codec_string: "av01.0.05M.08".into(), info };
        let source = Source {
            video: Track::new(CodecConfig::Av1(av1)),
            audio: Some(opus()),
            frame_rate: None,
            video_kbps: None,
        };
        let check = |version: &str, expected: Option<&str>, dropped: Option<&str>| {
            let caps = Capabilities::present(tool(version));
            let plan = plan(&Preset::named("nott").unwrap(), &source, &caps, 8);
            assert_eq!(plan.passthrough_only.as_deref(), expected, "{version}");
            assert_eq!(plan.dropped.first().map(|dropped| dropped.reason.as_str()), dropped, "{version}");
            plan
        };
        let reason = "Unsupported source for this FFmpeg: AV1 needs 6.1, this is 5.1.9; passthrough only";
        check("5.1.9", Some(reason), None);
        let plan = check(
            "6.1",
            None,
            Some("Unsupported source for this FFmpeg: Opus needs 8.0, this is 6.1; passthrough only"),
        );
        assert!(!plan.makes_audio());
        assert!(check("8.0", None, None).makes_audio());
    }

    #[test]
    fn reasons_for_no_ladder() {
        let check = |config: Config, preset: &str, caps: Capabilities, expected: &str| {
            let plan = plan_with(&config, &Preset::named(preset).unwrap(), &source(1280, 720, 30), &caps, 8);
            assert_eq!(plan.passthrough_only.as_deref(), Some(expected));
            assert!(plan.renditions.is_empty());
        };
        check(Config::default(), "off", caps(), "the ladder preset is off");
        check(Config::default(), "nott", Capabilities::absent("no FFmpeg here"), "no FFmpeg here");
        let nvenc = Config { encoder: "h264_nvenc".into(), ..Config::default() };
        check(nvenc, "nott", caps(), "FFmpeg 5.1.9 has no h264_nvenc");
    }
}

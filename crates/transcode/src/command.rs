//! FFmpeg's command line for a ladder: one decode, N encodes. `docs/decisions/0011-ladder-command.md` has the reasons.

use std::path::PathBuf;

use crate::{Encoder, Output, Plan, Rendition, Tool, VideoOutput};

/// Pictures between keyframes that the encoder would set by itself, beside the source's: never within a day.
const GOP_PICTURES: u32 = 10_000_000;
/// Slices, and so threads, per encoder: FFmpeg before 7.0 runs one encoder after another, so slices are the only parallelism;
/// each costs some compression.
const SLICES_MAX: u32 = 4;
/// The same for pictures below 1280x720.
const SLICES_MAX_SMALL: u32 = 2;
/// How often FFmpeg reports progress, in seconds.
const PROGRESS_SECONDS: &str = "0.5";
/// The device that VA-API encoders open: the first render node of the machine.
const VAAPI_DEVICE: &str = "/dev/dri/renderD128";

/// The arguments after the program: FLV on standard input; `outputs` pairs the renditions to be made with the sockets they
/// are written to; progress on standard output.
pub(crate) fn ladder(plan: &Plan, tool: &Tool, outputs: &[(&Rendition, PathBuf)], cores: usize) -> Vec<String> {
    let mut args = Args::default();
    args.add("-hide_banner -nostdin -nostats -loglevel repeat+level+warning -progress pipe:1 -stats_period");
    args.push(PROGRESS_SECONDS);
    if plan.encoder == Encoder::Vaapi {
        args.add("-vaapi_device");
        args.push(VAAPI_DEVICE);
    }
    input(&mut args, plan.makes_audio());
    let videos: Vec<_> = outputs.iter().filter_map(|(rendition, path)| Some((rendition.video()?, path))).collect();
    if !videos.is_empty() {
        args.push("-filter_complex");
        args.push(filter_graph(plan, videos.iter().map(|(video, _)| *video)));
    }
    for (index, (video, path)) in videos.into_iter().enumerate() {
        args.push("-map");
        args.push(format!("[v{index}]"));
        encode_video(&mut args, plan, tool, video, cores);
        flv_output(&mut args, path);
    }
    for (rendition, path) in outputs {
        if let Output::Audio { kbps } = rendition.output {
            args.add("-map 0:a:0 -c:a aac -ac 2 -ar 48000 -b:a");
            args.push(format!("{kbps}k"));
            flv_output(&mut args, path);
        }
    }
    args.0
}

/// The shortest analysis that FFmpeg allows: one packet, which is a keyframe behind its sequence header. With sound the
/// analysis must reach a packet of each. `-fflags nobuffer` is not there: it would throw the analysed keyframe away.
fn input(args: &mut Args, with_audio: bool) {
    args.add("-copyts -fpsprobesize 0 -flags low_delay -f flv");
    args.add(if with_audio {
        "-probesize 1000000 -analyzeduration 500000"
    } else {
        "-probesize 32 -analyzeduration 0"
    });
    args.add("-i pipe:0");
}

fn filter_graph<'a>(plan: &Plan, videos: impl ExactSizeIterator<Item = &'a VideoOutput>) -> String {
    let count = videos.len();
    let split: String = (0..count).map(|index| format!("[s{index}]")).collect();
    let mut graph = format!("[0:v:0]split={count}{split}");
    for (index, video) in videos.enumerate() {
        graph.push_str(&format!(";[s{index}]{}[v{index}]", filters(plan, video)));
    }
    graph
}

/// Thins out, scales, and keeps square pixels square: 426x240 for 1280x720 is not to become 640:639.
fn filters(plan: &Plan, video: &VideoOutput) -> String {
    let mut chain = String::new();
    if video.divisor > 1 {
        chain.push_str(&format!("select='{}',", selection(video)));
    }
    chain.push_str(&format!("scale={}:{}:flags=bicubic,", video.width, video.height));
    chain.push_str("setsar='if(lt(abs(sar-1),0.01),1,sar)',");
    chain.push_str(match plan.encoder {
        Encoder::Vaapi => "format=nv12,hwupload",
        Encoder::Qsv => "format=nv12",
        _ => "format=yuv420p",
    });
    chain
}

/// All keyframes, and pictures at least `divisor` (less half of one, as FLV rounds times) picture durations after the one before.
fn selection(video: &VideoOutput) -> String {
    let (numerator, denominator) = video.frame_rate;
    let divisor = f64::from(video.divisor);
    let seconds = f64::from(denominator) / f64::from(numerator) * (divisor - 0.5) / divisor;
    format!("key+gte(t-prev_selected_t,{seconds:.5})")
}

fn encode_video(args: &mut Args, plan: &Plan, tool: &Tool, video: &VideoOutput, cores: usize) {
    args.add("-c:v");
    args.push(plan.encoder.name());
    match plan.encoder {
        Encoder::X264 => x264(args, plan, video, cores),
        Encoder::Nvenc => {
            args.add("-preset p4 -tune ll -rc cbr -zerolatency 1 -delay 0 -forced-idr 1 -no-scenecut 1 -bf 0")
        }
        Encoder::Vaapi => args.add("-rc_mode CBR -bf 0 -async_depth 1"),
        Encoder::Qsv => args.add("-preset veryfast -async_depth 1 -forced_idr 1 -bf 0"),
        Encoder::VideoToolbox => args.add("-realtime 1 -bf 0"),
    }
    args.add("-profile:v");
    args.push(video.profile.as_str());
    let kbps = video.kbps;
    args.add(&format!("-b:v {kbps}k -maxrate {kbps}k -bufsize {kbps}k -g {GOP_PICTURES}"));
    args.add("-force_key_frames source -enc_time_base 1/1000");
    // `-fps_mode` came with 5.1 and `-vsync` went after it.
    args.add(if tool.version.number >= (5, 1) { "-fps_mode passthrough" } else { "-vsync passthrough" });
}

fn x264(args: &mut Args, plan: &Plan, video: &VideoOutput, cores: usize) {
    args.add("-preset");
    args.push(video.x264_preset.as_str());
    let slices_max = if video.width * video.height < 1280 * 720 { SLICES_MAX_SMALL } else { SLICES_MAX };
    let threads = u32::try_from(cores).unwrap_or(u32::MAX).clamp(1, slices_max);
    args.add(&format!("-tune zerolatency -threads {threads} -forced-idr 1 -sc_threshold 0 -keyint_min 1"));
    // The rate control of zerolatency believes the frame rate it is told; where nobody knows it, it follows the timestamps.
    let (numerator, denominator) = video.frame_rate;
    let pacing = if plan.frame_rate_known() { "1" } else { "0" };
    args.push("-x264-params");
    args.push(format!("fps={numerator}/{denominator}:force-cfr={pacing}"));
}

fn flv_output(args: &mut Args, path: &std::path::Path) {
    args.add("-flush_packets 1 -flvflags no_duration_filesize+no_metadata -f flv");
    args.push(format!("unix:{}", path.display()));
}

/// Arguments under construction.
#[derive(Default)]
pub(crate) struct Args(pub(crate) Vec<String>);

impl Args {
    /// Adds arguments separated by spaces.
    pub(crate) fn add(&mut self, text: &str) {
        self.0.extend(text.split_whitespace().map(str::to_owned));
    }

    /// Adds one argument.
    pub(crate) fn push(&mut self, text: impl Into<String>) {
        self.0.push(text.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Capabilities, Preset,
        plan::tests::{source, tool},
    };

    fn arguments(preset: &str, fps: u32, version: &str) -> String {
        let tool = tool(version);
        let caps = Capabilities::present(tool.clone());
        let plan = crate::plan(&Preset::named(preset).unwrap(), &source(640, 360, fps), &caps, 8);
        let outputs: Vec<_> = plan.renditions.iter().zip((0..).map(|n| PathBuf::from(format!("/tmp/s/{n}")))).collect();
        ladder(&plan, &tool, &outputs, 8).join(" ")
    }

    #[test]
    fn the_command_line_of_a_ladder() {
        let expected = "-hide_banner -nostdin -nostats -loglevel repeat+level+warning -progress pipe:1 -stats_period 0.5 \
            -copyts -fpsprobesize 0 -flags low_delay -f flv -probesize 32 -analyzeduration 0 -i pipe:0 \
            -filter_complex [0:v:0]split=2[s0][s1];\
            [s0]scale=426:240:flags=bicubic,setsar='if(lt(abs(sar-1),0.01),1,sar)',format=yuv420p[v0];\
            [s1]select='key+gte(t-prev_selected_t,0.05000)',scale=426:240:flags=bicubic,setsar='if(lt(abs(sar-1),0.01),1,sar)',format=yuv420p[v1] \
            -map [v0] -c:v libx264 -preset superfast -tune zerolatency -threads 2 -forced-idr 1 -sc_threshold 0 -keyint_min 1 \
            -x264-params fps=30/1:force-cfr=1 -profile:v high -b:v 400k -maxrate 400k -bufsize 400k -g 10000000 \
            -force_key_frames source -enc_time_base 1/1000 -fps_mode passthrough \
            -flush_packets 1 -flvflags no_duration_filesize+no_metadata -f flv unix:/tmp/s/0 \
            -map [v1] -c:v libx264 -preset superfast -tune zerolatency -threads 2 -forced-idr 1 -sc_threshold 0 -keyint_min 1 \
            -x264-params fps=30/2:force-cfr=1 -profile:v high -b:v 200k -maxrate 200k -bufsize 200k -g 10000000 \
            -force_key_frames source -enc_time_base 1/1000 -fps_mode passthrough \
            -flush_packets 1 -flvflags no_duration_filesize+no_metadata -f flv unix:/tmp/s/1";
        assert_eq!(arguments("alfg", 30, "5.1.9"), expected);
    }

    #[test]
    fn older_and_stranger_ones() {
        assert!(arguments("alfg", 30, "4.4.2").contains("-vsync passthrough"));
        assert!(arguments("alfg", 0, "5.1.9").contains("force-cfr=0"), "an unknown frame rate follows the timestamps");
    }
}

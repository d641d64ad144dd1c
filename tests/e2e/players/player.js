// Starts the engine that the page's query names on the page's video element.
const query = new URLSearchParams(location.search);
const video = document.querySelector('video');
const base = `${query.get('base')}/${query.get('stream')}`;

const fail = (what) => console.error(`player: ${what}`);

const engines = {
  hlsjs() {
    const hls = new Hls({ lowLatencyMode: true });
    hls.on(Hls.Events.ERROR, (_, data) => {
      // A stall is counted by the page; what else hls.js calls an error is one.
      if (data.details !== Hls.ErrorDetails.BUFFER_STALLED_ERROR) fail(`${data.type} ${data.details} fatal=${data.fatal}`);
    });
    hls.on(Hls.Events.MANIFEST_PARSED, () => video.play());
    hls.loadSource(`${base}/index.m3u8`);
    hls.attachMedia(video);
  },
  async shaka(url) {
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    await player.attach(video);
    player.configure({ streaming: { lowLatencyMode: true } });
    player.addEventListener('error', (event) => fail(`shaka ${event.detail.code}`));
    await player.load(url);
    await video.play();
  },
  dashjs() {
    const player = dashjs.MediaPlayer().create();
    player.on(dashjs.MediaPlayer.events.ERROR, (event) => fail(`dash.js ${event.error?.code} ${event.error?.message}`));
    player.initialize(video, `${base}/manifest.mpd`, true);
  },
};

const start = {
  hlsjs: () => engines.hlsjs(),
  'shaka-hls': () => engines.shaka(`${base}/index.m3u8`),
  'shaka-dash': () => engines.shaka(`${base}/manifest.mpd`),
  dashjs: () => engines.dashjs(),
}[query.get('engine')];

Promise.resolve(start()).catch((error) => fail(error.message ?? String(error)));

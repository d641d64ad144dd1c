// Starts the engine that the page's query names on the page's video element.
const query = new URLSearchParams(location.search);
const video = document.querySelector('video');
const url = query.get('url');
const settings = JSON.parse(query.get('settings'));

const fail = (what) => console.error(`player: ${what}`);

const engines = {
  hlsjs() {
    const hls = new Hls({ lowLatencyMode: true, ...settings });
    hls.on(Hls.Events.ERROR, (_, data) => {
      // A stall is counted by the page; what else hls.js calls an error is one.
      if (data.details !== Hls.ErrorDetails.BUFFER_STALLED_ERROR) fail(`${data.type} ${data.details} fatal=${data.fatal}`);
    });
    hls.on(Hls.Events.MANIFEST_PARSED, () => video.play());
    hls.loadSource(url);
    hls.attachMedia(video);
    return hls;
  },
  async shaka() {
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    await player.attach(video);
    player.configure({ streaming: { lowLatencyMode: true } });
    player.configure(settings);
    player.addEventListener('error', (event) => fail(`shaka ${event.detail.code}`));
    await player.load(url);
    await video.play();
    return player;
  },
  dashjs() {
    const player = dashjs.MediaPlayer().create();
    player.updateSettings(settings);
    player.on(dashjs.MediaPlayer.events.ERROR, (event) => fail(`dash.js ${event.error?.code} ${event.error?.message}`));
    player.initialize(video, url, true);
    return player;
  },
};

const start = {
  hlsjs: engines.hlsjs,
  'shaka-hls': engines.shaka,
  'shaka-dash': engines.shaka,
  dashjs: engines.dashjs,
}[query.get('engine')];

Promise.resolve(start())
  .then((player) => { window.player = player; })
  .catch((error) => fail(error.message ?? String(error)));

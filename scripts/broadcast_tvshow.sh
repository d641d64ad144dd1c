#!/bin/bash
# Publishes a moving test picture with a beep, as an encoder would, to the server on this machine. RTMP_PORT is another port than 1935.
set -euo pipefail
port=${RTMP_PORT:-1935}
listens() {
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null
}
if ! listens; then
  echo "waiting for a server on port $port (start it with: make run)"
  for _ in $(seq 300); do
    listens && break
    sleep 1
  done
  listens || { echo "no server on port $port after five minutes" >&2; exit 1; }
fi
echo "publishing to rtmp://localhost:$port/encoder/colorbar; Ctrl-C ends it"
exec ffmpeg -re -f lavfi -i 'testsrc2=size=1280x720:rate=60,format=yuv420p' \
  -f lavfi -i 'sine=frequency=440:sample_rate=48000:beep_factor=4' \
  -c:v libx264 -preset ultrafast -tune zerolatency -profile:v high -b:v 1400k -bufsize 2800k \
  -x264opts keyint=120:min-keyint=120:scenecut=-1 -c:a aac -b:a 32k \
  -f flv "rtmp://localhost:$port/encoder/colorbar"

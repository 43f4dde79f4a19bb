// The camera: sends images to moppet and receives rows. Frames are dropped rather than sent late:
// an image is sent only while fewer than two are unanswered.
const MOST_PX = 640;
const EVERY_MS = 100;
const UNANSWERED = 2;
const AGAIN_MS = 2000;
const SILENT_MS = 3000;

const REASONS = {
  NotAllowedError: "The browser is not allowed to use the camera. Allow it next to the address of this page, then try again.",
  NotFoundError: "No camera was found. Connect one, then try again.",
  OverconstrainedError: "That camera is no longer available. Choose another, then try again.",
  NotReadableError: "Another program is using the camera. Close it there, then try again.",
};

export async function cameras() {
  const found = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return found.filter((one) => one.kind === "videoinput" && one.deviceId);
}

// Fill the list of cameras once the browser reveals their names; show it if there are several.
export async function listCameras(select, stream) {
  const found = await cameras();
  const now = stream.getVideoTracks()[0].getSettings().deviceId;
  select.replaceChildren(...found.map((one, i) => {
    const option = document.createElement("option");
    option.value = one.deviceId;
    option.textContent = one.label || `camera ${i + 1}`;
    option.selected = one.deviceId === now;
    return option;
  }));
  select.closest("label").hidden = found.length < 2;
}

async function openCamera(deviceId) {
  if (!navigator.mediaDevices) throw new Error("This browser does not allow camera access for this address.");
  const video = { width: { ideal: MOST_PX }, height: { ideal: 480 } };
  if (deviceId) video.deviceId = { exact: deviceId };
  try {
    return await navigator.mediaDevices.getUserMedia({ video, audio: false });
  } catch (error) {
    throw new Error(REASONS[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
}

// Events: "ready", "rows", "answer" (all other messages), "lost" (with a reason), "found".
export class Camera extends EventTarget {
  constructor(video) {
    super();
    this.video = video;
    this.canvas = document.createElement("canvas");
    this.pen = this.canvas.getContext("2d", { alpha: false });
    this.unanswered = this.sent = this.dropped = 0;
    this.hidden = () => document.hidden && this.lose("this page is hidden");
    document.addEventListener("visibilitychange", this.hidden);
    addEventListener("pagehide", () => this.stop());
  }

  get on() {
    return this.stream !== undefined;
  }

  async start(deviceId) {
    this.stop();
    this.stream = await openCamera(deviceId);
    const [track] = this.stream.getVideoTracks();
    track.addEventListener("ended", () => this.lose("the camera was disconnected"));
    track.addEventListener("mute", () => this.lose("the camera delivers no image"));
    this.video.srcObject = this.stream;
    await this.video.play();
    this.begun = this.freshAt = performance.now();
    this.shown = 0;
    this.connect();
    this.timer = setInterval(() => this.shoot(), EVERY_MS);
  }

  stop() {
    clearInterval(this.timer);
    clearTimeout(this.later);
    const [socket, stream] = [this.socket, this.stream];
    this.socket = this.stream = undefined;
    socket?.close();
    for (const track of stream?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
    this.isLost = undefined;
  }

  tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }

  lose(why) {
    if (!this.on || this.isLost) return;
    this.isLost = true;
    this.tell("lost", why);
  }

  connect() {
    const socket = new WebSocket(`ws://${location.host}/api/live`);
    this.socket = socket;
    this.ready = false;
    this.unanswered = 0;
    this.said = undefined;
    this.answeredAt = performance.now();
    socket.addEventListener("message", (event) => socket === this.socket && this.hear(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => {
      if (socket !== this.socket) return;
      this.ready = false;
      this.lose(this.said ?? (event.reason || "moppet does not answer. Is it still running in its terminal?"));
      this.later = setTimeout(() => this.connect(), AGAIN_MS);
    });
  }

  hear(answer) {
    this.answeredAt = performance.now();
    if (answer.kind === "ready") {
      this.ready = true;
      this.tell("ready", answer);
    } else if (answer.kind === "rows") {
      this.unanswered -= 1;
      answer.delay_ms = performance.now() - this.begun - answer.sent_s * 1000;
      if (this.isLost && !document.hidden) {
        this.isLost = false;
        this.tell("found");
      }
      this.tell("rows", answer);
    } else if (answer.kind === "failed") this.said = answer.error;
    else this.tell("answer", answer);
  }

  send(command) {
    if (this.ready) this.socket.send(JSON.stringify(command));
  }

  // Whether the camera still delivers new images: the rows of a frozen image would stay calm forever.
  isFresh() {
    const shown = this.video.getVideoPlaybackQuality?.().totalVideoFrames ?? 0;
    if (shown !== this.shown || !shown) this.freshAt = performance.now(); // 0: the browser does not count frames
    this.shown = shown;
    return performance.now() - this.freshAt < SILENT_MS;
  }

  shoot() {
    const { video, canvas } = this;
    if (this.unanswered && performance.now() - this.answeredAt > SILENT_MS) this.lose("moppet does not answer");
    if (!this.ready || document.hidden || video.readyState < 2 || !video.videoWidth) return;
    if (this.stream.getVideoTracks()[0].muted) return;
    if (!this.isFresh()) return this.lose("the camera delivers no new image");
    if (this.unanswered >= UNANSWERED) {
      this.dropped += 1;
      return;
    }
    if (!this.unanswered) this.answeredAt = performance.now();
    const scale = Math.min(1, MOST_PX / Math.max(video.videoWidth, video.videoHeight));
    [canvas.width, canvas.height] = [Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale)];
    this.pen.drawImage(video, 0, 0, canvas.width, canvas.height);
    const time = new DataView(new ArrayBuffer(8));
    time.setFloat64(0, (performance.now() - this.begun) / 1000, true);
    const socket = this.socket;
    this.unanswered += 1;
    canvas.toBlob((jpeg) => {
      if (socket !== this.socket || socket.readyState !== WebSocket.OPEN) return;
      socket.send(new Blob([time, jpeg]));
      this.sent += 1;
    }, "image/jpeg", 0.9);
  }
}

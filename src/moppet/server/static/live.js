// The live camera: boxes, text, and the curve of the last minute.
import { $, say } from "./dom.js";
import { Camera, listCameras } from "./camera.js";
import { Curve } from "./live_curve.js";
import { legendOf, describeRow } from "./expressions.js";
import { drawFaces, largest, wipe } from "./face_boxes.js";

const camera = new Camera($("#camera"));
const curve = new Curve($("#curve"));
const PACE_MS = 5000;
let delays = [];

function show() {
  $("#turn").textContent = camera.on ? "Switch the camera off" : "Switch the camera on";
  $("#off").hidden = camera.on;
  if (camera.on) return;
  wipe($("#boxes"));
  $("#now").textContent = "";
}

async function start(deviceId) {
  say("");
  $("#turn").disabled = true;
  try {
    await camera.start(deviceId);
    await listCameras($("#which"), camera.stream);
    camera.sent = camera.dropped = 0;
    delays = [];
  } catch (error) {
    camera.stop();
    say(error.message, true);
  }
  $("#turn").disabled = false;
  show();
}

function pace(answer) {
  const now = performance.now();
  delays.push([now, answer.delay_ms]);
  while (now - delays[0][0] > PACE_MS) delays.shift();
  if (delays.length < 3) return;
  const sorted = delays.map(([, delay]) => delay).sort((a, b) => a - b);
  const rate = ((delays.length - 1) * 1000) / (delays.at(-1)[0] - delays[0][0]);
  $("#rate").textContent = rate.toFixed(1);
  $("#delay").textContent = `${Math.round(sorted[sorted.length >> 1])} ms`;
  $("#dropped").textContent = camera.dropped.toLocaleString("en");
}

camera.addEventListener("ready", ({ detail }) => {
  curve.names = detail.names;
  curve.clear();
  $("#legend").replaceChildren(...legendOf(detail.names));
});
camera.addEventListener("rows", ({ detail }) => {
  drawFaces($("#boxes"), detail, curve.names);
  curve.add(largest(detail.rows));
  $("#now").textContent = detail.rows.map(describeRow).join(" · ");
  pace(detail);
});
camera.addEventListener("lost", ({ detail }) => {
  wipe($("#boxes"));
  $("#now").textContent = "";
  say(detail.endsWith(".") || detail.endsWith("?") ? detail : `The camera is not being read: ${detail}.`, true);
});
camera.addEventListener("found", () => say(""));

$("#turn").addEventListener("click", () => {
  if (!camera.on) return start();
  camera.stop();
  say("");
  show();
});
$("#which").addEventListener("change", (event) => start(event.target.value));
$("#blur").addEventListener("change", (event) => $("#view").classList.toggle("blurred", event.target.checked));
show();

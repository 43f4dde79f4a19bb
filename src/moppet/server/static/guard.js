// The guard page: the video, the target face, the rules, and the notifications.
import { ask } from "./ask.js";
import { chime, notificationsSay, notify, wake } from "./calling.js";
import { Camera, listCameras } from "./camera.js";
import { wordsOf } from "./expressions.js";
import { drawFaces, wipe } from "./faces.js";
import { addToLog, clearLog, listSessions, summarise } from "./guard_log.js";
import { Stage } from "./stage.js";
import { plain } from "./why.js";

const $ = (selector) => document.querySelector(selector);
const camera = new Camera($("#camera"));
const stage = new Stage();
let names = [], film, filmPlays = false, rulesHold = false, guards = false, asked;

function say(text, bad = false) {
  $("#said").textContent = text;
  $("#said").classList.toggle("bad", bad);
}

// ------------------------------------------------------------------------------- preparation

function ready() {
  const missing = [];
  if (!filmPlays) missing.push("a video");
  if (!camera.on || !camera.ready || camera.isLost) missing.push("the camera");
  if (!rulesHold) missing.push("valid rules");
  $("#start").disabled = missing.length > 0;
  $("#missing").textContent = missing.length ? `Still needed: ${missing.join(", ")}.` : "";
  $("#turn").textContent = camera.on ? "Switch the camera off" : "Switch the camera on";
  $("#off").hidden = camera.on;
}

function chooseFilm(file) {
  if (!file) return;
  if (film) URL.revokeObjectURL(film);
  film = URL.createObjectURL(file);
  filmPlays = false;
  $("#film-name").textContent = file.name;
  const show = $("#show");
  show.onloadeddata = () => { filmPlays = true; say(""); ready(); };
  show.onerror = () => {
    filmPlays = false;
    say(`Your browser cannot play ${file.name}: choose another, such as an MP4 with H.264.`, true);
    ready();
  };
  show.src = film;
  ready();
}

let checks = 0;
async function checkRules() {
  const mine = ++checks;
  const said = $("#rules-said");
  try {
    const found = await ask("POST", "/api/guard/check", { rules: $("#rules").value });
    if (mine !== checks) return; // a newer request was sent
    said.textContent = `${found.rules.length} ${found.rules.length === 1 ? "rule" : "rules"} understood.`;
    rulesHold = true;
  } catch (error) {
    if (mine !== checks) return;
    said.textContent = error.message;
    rulesHold = false;
  }
  said.classList.toggle("bad", !rulesHold);
  $("#rules").setAttribute("aria-invalid", String(!rulesHold));
  ready();
}

async function turnOn(deviceId) {
  say("");
  $("#turn").disabled = true;
  try {
    await camera.start(deviceId);
    await listCameras($("#which"), camera.stream);
  } catch (error) {
    camera.stop();
    say(error.message, true);
  }
  $("#turn").disabled = false;
  ready();
}

function turnOff() {
  camera.stop();
  wipe($("#boxes"));
  $("#now").textContent = "";
  ready();
}

function tellCalls(about) {
  const command = about.commands.alert;
  $("#command").textContent = command
    ? `The program ${command}, set with --on-alert.` : "No program is started. To start one, run moppet serve with --on-alert PROGRAM.";
  $("#webhook").textContent = about.webhook
    ? `${about.webhook}: alerts leave this machine, as numbers and rules.` : "Nothing is sent outside this machine. To send alerts, run moppet serve with --webhook ADDRESS.";
  $("#notes").textContent = notificationsSay();
  $("#allow").hidden = globalThis.Notification?.permission !== "default";
}

// ----------------------------------------------------------------------------------- running

const guardAsked = () => ({
  do: "guard", rules: $("#rules").value, child: $("#child").value, goes_on: $("#goes-on").checked,
});

async function begin() {
  await wake();
  asked = guardAsked();
  clearLog();
  $("#summary").textContent = "";
  say("");
  camera.ask(asked);
}

function unwatched(why) {
  stage.rest("unwatched", `Adults: the child is not being watched: ${why.replace(/[.?]$/, "")}.`);
  stage.say("not watched");
  addToLog({ event: "stopped", at: new Date().toISOString(), reason: why });
  chime(4);
  notify(`The child is not watched: ${why}`);
}

function act(event) {
  if (event.event !== "resume" || event.by !== "hand") addToLog(event);
  const percent = event.value === null || event.value === undefined ? "" : ` (${Math.round(event.value * 100)} %)`;
  if (event.event === "pause") {
    stage.rest("rule", `Adults: ${plain(event.rule)}${percent}`);
    chime(1);
  } else if (event.event === "alert") {
    chime(3);
    notify(`Please look after the child: ${plain(event.rule)}${percent}`);
  } else if (event.event === "calm") stage.rest("rule", "Adults: the child looks calm again. Hold to resume.");
  else if (event.event === "resume" && event.by !== "hand") stage.goOn("rule");
  else addToLog(event);
}

function finish(text) {
  camera.ask({ do: "end" });
  guards = false;
  stage.close();
  say(text);
}

camera.addEventListener("ready", ({ detail }) => {
  names = detail.names;
  if (guards) camera.ask(asked); // after a reconnect the guard watches again; a person must resume the video
  ready();
});
camera.addEventListener("rows", ({ detail }) => {
  if (!guards) {
    drawFaces($("#boxes"), detail, names);
    $("#now").textContent = detail.rows.map(wordsOf).join(" · ");
    return;
  }
  if (!detail.guarding) return stage.rest("unwatched", "Adults: moppet could not watch again. End the session and start a new one.");
  stage.say(detail.rows.some((row) => row.face_id !== null) ? "watching" : "watching, no face");
  detail.events.forEach(act);
});
camera.addEventListener("answer", ({ detail }) => {
  if (detail.kind === "guarding" && !guards) {
    guards = true;
    stage.say("watching");
    stage.open(film);
  } else if (detail.kind === "gone_on") detail.events.forEach(act);
  else if (detail.kind === "ended") {
    summarise(detail.summary);
    listSessions();
  } else if (detail.kind === "refused") say(detail.error, true);
});
camera.addEventListener("lost", ({ detail }) => {
  wipe($("#boxes"));
  $("#now").textContent = "";
  if (guards) unwatched(detail);
  else say(`The camera is not being read: ${detail}${/[.?]$/.test(detail) ? "" : "."}`, true);
  ready();
});
camera.addEventListener("found", () => {
  if (guards) stage.rest("unwatched", "Adults: the child was not watched for a while. Hold to resume.");
  else say("");
  ready();
});

stage.addEventListener("goon", () => {
  if (camera.isLost) return chime(1);
  camera.ask({ do: "go_on" });
  stage.goOn();
});
stage.addEventListener("end", () => finish("The guard has stopped."));
stage.addEventListener("over", () => finish("The video is over, and the guard has stopped."));
addEventListener("beforeunload", (event) => guards && event.preventDefault());

$("#film").addEventListener("change", (event) => chooseFilm(event.target.files[0]));
$("#turn").addEventListener("click", () => (camera.on ? turnOff() : turnOn()));
$("#which").addEventListener("change", (event) => turnOn(event.target.value));
$("#rules").addEventListener("input", checkRules);
$("#try").addEventListener("click", async () => { await wake(); chime(1); });
$("#start").addEventListener("click", begin);

try {
  const about = await ask("GET", "/api/guard");
  $("#rules").value ||= about.rules.join("\n");
  tellCalls(about);
  $("#allow").addEventListener("click", async () => { await Notification.requestPermission(); tellCalls(about); });
  await Promise.all([checkRules(), listSessions()]);
} catch (error) {
  say(error.message, true);
}
ready();

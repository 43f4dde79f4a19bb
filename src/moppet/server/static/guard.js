// The guard page: the video, the target face, the rules, and the notifications.
import { $, element, say } from "./dom.js";
import { request } from "./request.js";
import { chime, notificationStatus, notify, unlockSound } from "./alerts.js";
import { Camera, listCameras } from "./camera.js";
import { describeRow } from "./expressions.js";
import { drawFaces, wipe } from "./face_boxes.js";
import { addToLog, clearLog, listSessions, showSummary } from "./guard_log.js";
import { ChildScreen } from "./child_screen.js";
import { ruleText } from "./event_curve.js";

const camera = new Camera($("#camera"));
const screen = new ChildScreen();
let names = [], film, filmPlays = false, rulesHold = false, guards = false, asked;

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
    const found = await request("POST", "/api/guard/check", { rules: $("#rules").value });
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

// measured: what the default rules found in rendered clips, from the model's card; null if nothing is known.
function showMeasured(measured) {
  $("#measured").hidden = !measured;
  if (!measured) return;
  const { missed, false_alarms_per_hour: alarms } = measured;
  const percent = (share) => `${Math.round(share * 100)} %`;
  const delay = measured.median_delay_s === null ? "" : ` A pause came ${measured.median_delay_s.toFixed(1)} s after the distress began (median).`;
  $("#measured").textContent = `With the default rules, ${percent(missed.value)} of ${missed.n} distresses of ${measured.clips} rendered children were missed `
    + `(95 % interval ${percent(missed.low)} to ${percent(missed.high)}), and there were ${alarms.value.toFixed(1)} false alarms an hour `
    + `(${alarms.low.toFixed(1)} to ${alarms.high.toFixed(1)}).${delay} Rendered faces are simpler than real ones: expect more of both.`;
}

function showChannels(about) {
  const command = about.commands.alert;
  const option = (text) => element("code", {}, text);
  $("#command").replaceChildren(...(command
    ? [`The program ${command}, set with `, option("--on-alert"), "."]
    : ["No program is started. To start one, run ", option("moppet serve"), " with ", option("--on-alert PROGRAM"), "."]));
  $("#webhook").replaceChildren(...(about.webhook
    ? [`${about.webhook}: alerts leave this machine, as numbers and rules.`]
    : ["Nothing is sent outside this machine. To send alerts, run ", option("moppet serve"), " with ", option("--webhook ADDRESS"), "."]));
  $("#notes").textContent = notificationStatus();
  $("#allow").hidden = globalThis.Notification?.permission !== "default";
}

// ----------------------------------------------------------------------------------- running

const guardAsked = () => ({
  do: "guard", rules: $("#rules").value, child: $("#child").value, auto_resume: $("#goes-on").checked,
});

async function begin() {
  await unlockSound();
  asked = guardAsked();
  clearLog();
  $("#summary").textContent = "";
  say("");
  camera.send(asked);
}

function unwatched(why) {
  screen.pause("unwatched", `Adults: the child is not being watched: ${why.replace(/[.?]$/, "")}.`);
  screen.say("not watched");
  addToLog({ event: "stopped", at: new Date().toISOString(), reason: why });
  chime(4);
  notify(`The child is not watched: ${why}`);
}

function act(event) {
  if (event.event !== "resume" || event.by !== "hand") addToLog(event);
  const percent = event.value === null || event.value === undefined ? "" : ` (${Math.round(event.value * 100)} %)`;
  if (event.event === "pause") {
    screen.pause("rule", `Adults: ${ruleText(event.rule)}${percent}`);
    chime(1);
  } else if (event.event === "alert") {
    chime(3);
    notify(`Please look after the child: ${ruleText(event.rule)}${percent}`);
  } else if (event.event === "calm") screen.pause("rule", "Adults: the child looks calm again. Hold to resume.");
  else if (event.event === "resume" && event.by !== "hand") screen.resume("rule");
  else addToLog(event);
}

function finish(text) {
  camera.send({ do: "end" });
  guards = false;
  screen.close();
  say(text);
}

camera.addEventListener("ready", ({ detail }) => {
  names = detail.names;
  if (guards) camera.send(asked); // after a reconnect the guard watches again; a person must resume the video
  ready();
});
camera.addEventListener("rows", ({ detail }) => {
  if (!guards) {
    drawFaces($("#boxes"), detail, names);
    $("#now").textContent = detail.rows.map(describeRow).join(" · ");
    return;
  }
  if (!detail.guarding) return screen.pause("unwatched", "Adults: moppet could not resume watching. End the session and start a new one.");
  screen.say(detail.rows.some((row) => row.face_id !== null) ? "watching" : "watching, no face");
  detail.events.forEach(act);
});
camera.addEventListener("answer", ({ detail }) => {
  if (detail.kind === "guarding" && !guards) {
    guards = true;
    screen.say("watching");
    screen.open(film);
  } else if (detail.kind === "resumed") detail.events.forEach(act);
  else if (detail.kind === "ended") {
    showSummary(detail.summary);
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
  if (guards) screen.pause("unwatched", "Adults: the child was not watched for a while. Hold to resume.");
  else say("");
  ready();
});

screen.addEventListener("resume", () => {
  if (camera.isLost) return chime(1);
  camera.send({ do: "resume" });
  screen.resume();
});
screen.addEventListener("end", () => finish("The guard has stopped."));
screen.addEventListener("over", () => finish("The video is over, and the guard has stopped."));
addEventListener("beforeunload", (event) => guards && event.preventDefault());

$("#film").addEventListener("change", (event) => chooseFilm(event.target.files[0]));
$("#turn").addEventListener("click", () => (camera.on ? turnOff() : turnOn()));
$("#which").addEventListener("change", (event) => turnOn(event.target.value));
$("#rules").addEventListener("input", checkRules);
$("#try").addEventListener("click", async () => { await unlockSound(); chime(1); });
$("#start").addEventListener("click", begin);

try {
  const about = await request("GET", "/api/guard");
  $("#rules").value ||= about.rules.join("\n");
  showMeasured(about.measured);
  showChannels(about);
  $("#allow").addEventListener("click", async () => { await Notification.requestPermission(); showChannels(about); });
  await Promise.all([checkRules(), listSessions()]);
} catch (error) {
  say(error.message, true);
}
ready();

// The events of a session, each with its curve, and the list of earlier sessions.
import { $ } from "./dom.js";
import { request } from "./request.js";
import { describeEvent, drawEventCurve } from "./event_curve.js";

const NAMES = { pause: "pause", alert: "alert", resume: "resumed", calm: "calm again", stopped: "not watched" };

const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export function clearLog() {
  $("#events").replaceChildren();
}

export function addToLog(record) {
  const item = document.createElement("li");
  item.dataset.event = record.event;
  const time = document.createElement("time");
  time.dateTime = record.at;
  time.textContent = clock(record.at);
  const kind = document.createElement("span");
  kind.className = `kind ${record.event}`;
  kind.textContent = NAMES[record.event] ?? record.event;
  item.append(time, kind, record.by === "hand" ? "by hand" : describeEvent(record));
  const curve = drawEventCurve(record);
  if (curve) {
    const why = document.createElement("details");
    const summary = document.createElement("summary");
    summary.textContent = "Why";
    summary.setAttribute("aria-label", `Why: ${kind.textContent} at ${time.textContent}`);
    const key = document.createElement("p");
    key.className = "quiet";
    key.textContent = "The value of the rule for the child's face. Dashed line: its threshold. Orange: the time that counted.";
    why.append(summary, curve, key);
    item.append(why);
  }
  $("#events").append(item);
}

export function showSummary(summary) {
  const s = (seconds) => `${seconds.toFixed(0)} s`;
  $("#summary").textContent = `Watched for ${s(summary.watched_s)}: the child's face was visible and read with confidence for ${s(summary.sure_s)}, `
    + `unsure for ${s(summary.unsure_s)}, not visible for ${s(summary.absent_s)}. Not watched for ${s(summary.unwatched_s)}. `
    + `Pauses: ${summary.events.pause} (${s(summary.paused_s)}), alerts: ${summary.events.alert}.`;
}

function link(text, name, kind) {
  const made = document.createElement("a");
  made.className = "button";
  made.href = `/api/guard/logs/${name}.${kind}`;
  made.textContent = text;
  made.setAttribute("aria-label", `${text} of ${name}`);
  return made;
}

function open(session) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "button";
  made.textContent = "Show";
  made.setAttribute("aria-label", `Show the session of ${new Date(session.at).toLocaleString()}`);
  made.addEventListener("click", async () => {
    const answer = await fetch(`/api/guard/logs/${session.name}.jsonl`);
    const records = (await answer.text()).split("\n").filter(Boolean).map((line) => JSON.parse(line));
    clearLog();
    $("#summary").textContent = "No events.";
    for (const record of records) {
      if (record.event === "end") showSummary(record);
      else if (record.event !== "start") addToLog(record);
    }
    $("#log-title").scrollIntoView();
  });
  return made;
}

export async function listSessions() {
  const sessions = await request("GET", "/api/guard/logs");
  $("#no-earlier").hidden = sessions.length > 0;
  $("#earlier").replaceChildren(...sessions.map((session) => {
    const item = document.createElement("li");
    if (session.error) {
      item.textContent = session.error;
      return item;
    }
    const { pause, alert, stopped } = session.events;
    const counts = [`${pause} ${pause === 1 ? "pause" : "pauses"}`, `${alert} ${alert === 1 ? "alert" : "alerts"}`];
    if (stopped) counts.push("interrupted");
    const told = document.createElement("span");
    told.textContent = `${new Date(session.at).toLocaleString()} · ${counts.join(", ")}`;
    const acts = document.createElement("span");
    acts.className = "acts";
    acts.append(open(session), link("CSV", session.name, "csv"), link("JSON lines", session.name, "jsonl"));
    item.append(told, acts);
    return item;
  }));
}

// One cursor for the video, its curves and its lanes; edits are in edits.js. Photos have a list instead.
import { $, say } from "./dom.js";
import { request } from "./request.js";
import { drawLanes } from "./face_lanes.js";
import { drawMovements, showValues } from "./movement_lanes.js";
import { listShares } from "./face_shares.js";
import { listPhotos } from "./photo_list.js";
import { startEdits } from "./edits.js";
import { clock, styleOf } from "./expressions.js";

const video = $("#video");
const photo = $("#photo");
const canvas = $("#boxes");
const plot = $("#plot");
const number = Number(new URLSearchParams(location.search).get("job"));
const api = `/api/jobs/${number}`;
const GROWS_MS = 3000;
let head, range, edits, rows = [], rowsFrom = 0, rowsTo = -1, asked = 0, frame_s = 1 / 25;
let curves = null; // of the face that is shown
let at_s = null; // the photo that is shown: photo i is at i seconds

const get = (path) => request("GET", path);
const style = (name) => styleOf(name, head.names);
const ink = () => getComputedStyle(document.body).color;
const isPhotos = () => head.photos.length > 0;
const now = () => (isPhotos() ? at_s : video.currentTime);
const chosen = () => Number($("#face").value);

async function draw() {
  if (isPhotos()) return listPhotos($("#photos"), head, chosen(), at_s, choose, go);
  const mine = ++asked;
  const [start, end] = range;
  lanes();
  const found = await get(`${api}/curves?face=${chosen()}&start_s=${start}&end_s=${end}&points=1200`);
  if (mine !== asked) return; // a newer request was sent
  curves = found;
  if (found.moved) drawMovements($("#movements"), head, found, chosen(), range, go);
  const traces = head.names.map((name) => ({
    x: found.time_s, y: found.s[name], name, mode: "lines", connectgaps: false,
    line: { color: style(name)[0], dash: style(name)[1], width: 2 },
    hovertemplate: `${name} %{y:.2f}<extra></extra>`,
  }));
  if (found.second && $("#second").checked) {
    traces.push(...head.names.map((name) => ({
      x: found.time_s, y: found.second[name], name: `${name}, ${head.second}`, mode: "lines", connectgaps: false,
      line: { color: style(name)[0], dash: "2px,3px", width: 1 }, opacity: 0.85, hoverinfo: "skip",
    })));
  }
  traces.push({
    x: found.time_s, y: found.unsure.map((u) => (u === null ? null : u * 0.06)), name: "unsure",
    mode: "lines", fill: "tozeroy", line: { width: 0, color: "#8a8f96" }, hoverinfo: "skip",
  });
  const grid = "rgba(128,128,128,.25)";
  await Plotly.react(plot, traces, {
    margin: { l: 44, r: 8, t: 8, b: 36 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
    font: { color: ink() }, hovermode: "x unified", hoverlabel: { font: { color: "#1d1f24" }, bgcolor: "#fff" },
    showlegend: false,
    xaxis: { range: [start, end], title: { text: "seconds" }, gridcolor: grid, zeroline: false },
    yaxis: { range: [0, 1], tickvals: [0, 0.25, 0.5, 0.75, 1], ticktext: ["0 %", "", "50 %", "", "100 %"], fixedrange: true, gridcolor: grid, zeroline: false },
  }, { displayModeBar: false, responsive: true, scrollZoom: true });
  cursor();
}

function lanes() {
  const more = drawLanes($("#lanes"), head, range, chosen(), choose, go);
  $("#more-lanes").hidden = more === 0;
  $("#more-lanes").textContent = `${more} more faces, visible for less time: choose them above.`;
}

function choose(face, time) {
  $("#face").value = face;
  if (isPhotos()) showPhoto(time ?? head.faces.find((one) => one.id === face).from_s);
  listEpisodes();
  listShares(head.shares[isPhotos() ? "all" : chosen()]);
  edits.fill();
  return draw();
}

function showPhoto(time) {
  at_s = time;
  const place = head.photos.findIndex((one) => one.at_s === time);
  const address = `${api}/photos/${place}`;
  if (!photo.src.endsWith(address)) photo.src = address;
  photo.alt = head.photos[place].file;
  edits.mark(time, time + 0.5);
}

function legend() {
  const entries = [...head.names.map((name) => [name, style(name)]), ["unsure", ["#8a8f96", "area"]]];
  if (head.second && $("#second").checked) entries.push([`${head.second} reading`, ["#8a8f96", "thin"]]);
  const made = entries.map(([name, [color, dash]]) => {
    const item = document.createElement("li");
    const line = document.createElement("span");
    line.style.borderTop = dash === "area" ? `.5rem solid ${color}66`
      : dash === "thin" ? `1px dashed ${color}` : `3px ${{ solid: "solid", dash: "dashed", dot: "dotted" }[dash]} ${color}`;
    item.append(line, name);
    return item;
  });
  $("#legend").replaceChildren(...made);
}

function cursor() {
  const axis = plot._fullLayout?.xaxis;
  const line = $("#cursor");
  if (!axis) return;
  const x = axis.l2p(video.currentTime);
  line.style.display = x >= 0 && x <= axis._length ? "block" : "none";
  line.style.left = `${axis._offset + x}px`;
  line.style.top = `${plot._fullLayout.yaxis._offset}px`;
  line.style.height = `${plot._fullLayout.yaxis._length}px`;
  for (const box of [$("#lanes"), $("#movements")]) {
    box.style.setProperty("--at", `${(100 * x) / axis._length}%`);
    box.classList.toggle("away", x < 0 || x > axis._length);
  }
  if (curves?.moved) showValues($("#movements"), head, curves, video.currentTime);
}

async function fetchRows(t) {
  if (t >= rowsFrom && t <= rowsTo) return false;
  rowsFrom = Math.max(0, t - 5);
  rowsTo = t + 25;
  rows = await get(`${api}/boxes?start_s=${rowsFrom}&end_s=${rowsTo}`);
  const times = [...new Set(rows.map((row) => row.time_s))];
  if (times.length > 2) frame_s = (times.at(-1) - times[0]) / (times.length - 1);
  return true;
}

const nameOf = (id) => head.faces.find((face) => face.id === id)?.name ?? `face ${id}`;

function rowsAt(t) {
  let last = null;
  for (const row of rows) {
    if (row.time_s > t + 1e-3) break;
    last = row.time_s;
  }
  return last === null || t - last > 0.5 ? [] : rows.filter((row) => row.time_s === last);
}

function paint() {
  const t = now();
  $("#clock").textContent = clock(t);
  cursor();
  fetchRows(t).then((fresh) => fresh && paint(), (error) => say(error.message, true));
  const [width, height] = isPhotos() ? [photo.naturalWidth, photo.naturalHeight] : head.size_px;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  const there = rowsAt(t);
  const told = [];
  for (const row of there) {
    if (row.face_id === null) continue;
    const word = row.expression === null ? row.status.replace("_", " ") : row.expression;
    const sure = row.unsure ? "unsure" : `${Math.round(row.confidence * 100)} %`;
    const second = row.second ? ` (${head.second}: ${row.second.expression}, ${Math.round(row.second.confidence * 100)} %)` : "";
    told.push(`${nameOf(row.face_id)}: ${word}${row.expression === null ? "" : `, ${sure}`}${second}`);
    if (!$("#show-boxes").checked) continue;
    pen.strokeStyle = style(row.expression ?? "neutral")[0];
    pen.lineWidth = Math.max(2, width / 300);
    pen.setLineDash(row.unsure ? [8, 6] : []);
    pen.strokeRect(row.box_x, row.box_y, row.box_w, row.box_h);
    pen.font = `${Math.max(12, Math.round(width / 34))}px system-ui, sans-serif`;
    const who = head.faces.length > 1 ? `${nameOf(row.face_id)}: ` : "";
    const text = `${who}${word}${row.unsure ? "?" : ""}`;
    const wide = pen.measureText(text).width + 10;
    const high = Math.max(16, width / 26);
    const top = row.box_y > high ? row.box_y - high : row.box_y + row.box_h;
    pen.fillStyle = "rgba(0,0,0,.7)";
    pen.fillRect(row.box_x, top, wide, high);
    pen.fillStyle = "#fff";
    pen.fillText(text, row.box_x + 5, top + high * 0.75);
  }
  $("#now").textContent = told.join(" · ") || (there.length ? "no face" : "");
  for (const line of $("#episodes").tBodies[0].rows) {
    line.classList.toggle("current", t >= Number(line.dataset.start) && t <= Number(line.dataset.end));
  }
}

function tick() {
  paint();
  if (!video.paused && !video.ended) requestAnimationFrame(tick);
}

function turn() {
  if (video.paused) video.play().catch(() => {}); // a pause may interrupt the start
  else video.pause();
}

function go(t) {
  if (isPhotos()) { showPhoto(t); draw(); return; }
  video.currentTime = Math.min(Math.max(0, t), head.duration_s);
}

function listEpisodes() {
  const lines = head.episodes.filter((one) => one.face === chosen()).map((one) => {
    const line = document.createElement("tr");
    line.dataset.start = one.start_s;
    line.dataset.end = one.end_s;
    const begin = document.createElement("button");
    begin.type = "button";
    begin.textContent = clock(one.start_s);
    begin.setAttribute("aria-label", `go to ${one.label} at ${clock(one.start_s)}`);
    for (const cell of [begin, clock(one.end_s), one.label, `${Math.round(100 * one.mean)} %`]) {
      const made = document.createElement("td");
      made.append(cell);
      line.append(made);
    }
    line.addEventListener("click", () => {
      go(one.start_s);
      edits.mark(one.start_s, one.end_s);
    });
    return line;
  });
  $("#episodes").tBodies[0].replaceChildren(...lines);
}

function listen() {
  video.addEventListener("play", () => { $("#play").textContent = "Pause"; tick(); });
  video.addEventListener("pause", () => { $("#play").textContent = "Play"; });
  for (const kind of ["seeked", "loadeddata", "timeupdate"]) video.addEventListener(kind, paint);
  photo.addEventListener("load", paint);
  photo.addEventListener("error", () => say("The photo is no longer at its place, or cannot be read.", true));
  $("#play").addEventListener("click", turn);
  $("#blur").addEventListener("change", (event) => $("#stage").classList.toggle("blurred", event.target.checked));
  $("#show-boxes").addEventListener("change", paint);
  $("#face").addEventListener("change", () => choose(chosen()));
  if (isPhotos()) return;
  $("#second").addEventListener("change", () => { legend(); draw(); });
  $("#whole").addEventListener("click", () => { range = [0, head.duration_s]; draw(); });
  plot.on("plotly_relayout", (change) => {
    const [start, end] = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
    if (start === undefined && !change["xaxis.autorange"]) return;
    range = start === undefined ? [0, head.duration_s] : [Math.max(0, start), Math.min(end, head.duration_s)];
    draw();
  });
  plot.addEventListener("click", (event) => {
    const axis = plot._fullLayout?.xaxis;
    const x = event.clientX - plot.getBoundingClientRect().left - axis._offset;
    if (axis && x >= 0 && x <= axis._length) go(axis.p2l(x));
  });
  new ResizeObserver(cursor).observe(plot);
  document.addEventListener("keydown", (event) => {
    const [tag, kind] = [event.target.tagName, event.target.type];
    if (tag === "SELECT" || (tag === "INPUT" && kind !== "checkbox")) return; // text input
    if (["INPUT", "BUTTON", "A"].includes(tag) && event.key === " ") return; // Space presses them
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      " ": turn,
      ArrowLeft: () => go(video.currentTime - 1), ArrowRight: () => go(video.currentTime + 1),
      ",": () => { video.pause(); go(video.currentTime - frame_s); },
      "[": () => edits.mark(video.currentTime, null),
      "]": () => edits.mark(null, video.currentTime),
      ".": () => { video.pause(); go(video.currentTime + frame_s); },
    };
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
}

// Show the server's current header of the recording, at the start or after a change.
function show(found) {
  const face = head ? chosen() : null;
  const whole = !head || (range[0] === 0 && range[1] === head.duration_s);
  head = { ...head, ...found };
  document.title = `${head.name} – moppet`;
  $("#name").textContent = head.name + (head.complete ? "" : " (so far)");
  if (whole) range = [0, head.duration_s];
  document.body.classList.toggle("photos", isPhotos());
  if (!isPhotos() && !video.src) video.src = `${api}/recording`;
  $("#found").hidden = head.faces.length === 0;
  if (!head.faces.length) return;
  $("#face").replaceChildren(...head.faces.map((one) =>
    new Option(`${one.name} (${one.from_s.toFixed(1)}–${one.to_s.toFixed(1)} s)`, one.id)));
  $("#face").value = head.faces.some((one) => one.id === face) ? face : head.faces[0].id;
  $("#second-box").hidden = !head.second;
  $("#second-box span").textContent = `${head.second} reading`;
  $("#movements-box").hidden = head.movements.length === 0;
  rowsTo = -1; // reload the boxes for new names
  legend();
  choose(chosen(), at_s).then(paint);
}

async function follow() {
  try {
    show(await get(`${api}/timeline`));
    if (!head.faces.length) say(head.complete ? "No face was detected in this recording." : "No face has been detected yet …");
    else if (!plot.dataset.heard) {
      plot.dataset.heard = "yes";
      say("");
      await draw();
      listen();
    }
    if (head.complete || !["queued", "running"].includes(head.state)) return;
  } catch (error) {
    if (!(await waits())) return say(error.message, true);
    say("Nothing has been analyzed yet …");
  }
  setTimeout(follow, GROWS_MS);
}

async function waits() {
  try {
    return ["queued", "running"].includes((await get(api)).state);
  } catch {
    return false;
  }
}

edits = startEdits({
  api, show, say, go, face: chosen, time: now, frame_s: () => frame_s,
  saveChart: () => Plotly.downloadImage(plot, { format: "png", width: 1600, height: 500, scale: 2, filename: head.name }),
  get head() { return head; },
});
await follow();

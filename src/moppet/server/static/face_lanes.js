// A lane for each face below the curves: when it is visible, its episodes and its corrections.
import { styleOf } from "./expressions.js";

const SVG = "http://www.w3.org/2000/svg";
const MOST = 40;

function rect(from, to, [start, end], set) {
  const low = Math.max(from, start);
  const high = Math.min(to, end);
  if (low >= high) return null;
  const made = document.createElementNS(SVG, "rect");
  const all = { x: `${((low - start) / (end - start)) * 100}%`, width: `${Math.max(((high - low) / (end - start)) * 100, 0.15)}%`, ...set };
  for (const [name, value] of Object.entries(all)) made.setAttribute(name, value);
  return made;
}

function strip(head, face, range) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("height", "20");
  drawing.setAttribute("aria-hidden", "true");
  const put = (...made) => drawing.append(...made.filter((one) => one !== null));
  put(rect(face.from_s, face.to_s, range, { y: 8, height: 4, class: "seen" }));
  for (const one of head.episodes.filter((each) => each.face === face.id)) {
    const shown = rect(one.start_s, one.end_s, range, { y: 2, height: 12, fill: styleOf(one.label, head.names)[0] });
    if (!shown) continue;
    const title = document.createElementNS(SVG, "title");
    title.textContent = `${one.label}, ${one.start_s.toFixed(2)} to ${one.end_s.toFixed(2)} s`;
    shown.append(title);
    put(shown);
  }
  for (const one of head.corrections.filter((each) => each.face === face.id)) {
    put(rect(one.start_s, one.end_s, range, { y: 15, height: 5, fill: styleOf(one.label, head.names)[0], class: "set" }));
  }
  return drawing;
}

function nobody(head, range) {
  const lane = document.createElement("div");
  lane.className = "lane";
  const name = document.createElement("span");
  name.className = "quiet";
  name.textContent = "no face";
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("height", "8");
  drawing.setAttribute("aria-hidden", "true");
  const parts = head.faceless.map(([from, to]) => rect(from, to ?? head.duration_s, range, { y: 0, height: 8, class: "seen" }));
  drawing.append(...parts.filter((one) => one !== null));
  lane.append(name, drawing);
  return lane;
}

// Draw the lanes into an element. selected: a face's id. choose(id), go(seconds): called on a click.
export function drawLanes(box, head, range, selected, choose, go) {
  const shown = head.faces.slice(0, MOST);
  box.replaceChildren(...shown.map((face) => {
    const lane = document.createElement("div");
    lane.className = "lane";
    lane.dataset.face = face.id;
    const name = document.createElement("button");
    name.type = "button";
    name.className = "plain";
    name.textContent = face.role ? `${face.name} (${face.role})` : face.name;
    name.setAttribute("aria-pressed", String(face.id === selected));
    name.addEventListener("click", () => choose(face.id));
    const drawing = strip(head, face, range);
    drawing.addEventListener("click", (event) => {
      event.stopPropagation();
      const { left, width } = drawing.getBoundingClientRect();
      choose(face.id);
      go(range[0] + ((event.clientX - left) / width) * (range[1] - range[0]));
    });
    lane.append(name, drawing);
    return lane;
  }));
  if (head.faceless.length) box.append(nobody(head, range));
  return head.faces.length - shown.length;
}

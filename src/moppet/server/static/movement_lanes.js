// Small lanes of valence, blinks and movements below the curves, where a timeline has them.
const SVG = "http://www.w3.org/2000/svg";
const WIDE = 1000;
const LOW = 26, HIGH = 38, EDGE = 3;
const isLow = (kind) => kind === "plain" || kind === "blinks";

function make(name, set) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(set)) made.setAttribute(key, value);
  return made;
}

// The path of values around a base line; filled: down or up to it. x: null where the face is away.
function pathOf(x, values, base, reach, filled) {
  const parts = [];
  let open = false, last = 0;
  const close = () => { if (open && filled) parts.push(`L${last} ${base}Z`); open = false; };
  values.forEach((value, i) => {
    if (value === null || x[i] === null) { close(); return; }
    const y = (base - value * reach).toFixed(1);
    if (!open) parts.push(filled ? `M${x[i]} ${base}L${x[i]} ${y}` : `M${x[i]} ${y}`);
    else parts.push(`L${x[i]} ${y}`);
    open = true;
    last = x[i];
  });
  close();
  return parts.join("");
}

function drawing(lane, found, head, face, range) {
  const high = isLow(lane.kind) ? LOW : HIGH;
  const base = isLow(lane.kind) ? LOW - EDGE : HIGH / 2;
  const reach = base - EDGE;
  const svg = make("svg", { viewBox: `0 0 ${WIDE} ${high}`, height: high, preserveAspectRatio: "none", "aria-hidden": "true" });
  const place = (t) => (t === null ? null : Number((((t - range[0]) / (range[1] - range[0])) * WIDE).toFixed(1)));
  const x = found.time_s.map(place);
  const put = (values, set, filled = true) => svg.append(make("path", { d: pathOf(x, values, base, reach, filled), ...set }));
  svg.append(make("path", { d: `M0 ${base}H${WIDE}`, class: "base" }));
  const [first, second] = lane.at.map((at) => found.moved[at]);
  const part = (test) => first.map((v) => (v === null ? null : test(v) ? v : 0));
  if (lane.kind === "blinks") {
    const mine = head.blinks.filter((one) => one.face === face && one.start_s >= range[0] && one.start_s <= range[1]);
    svg.append(make("path", { d: mine.map((one) => `M${place(one.start_s)} ${EDGE}V${base}`).join(""), class: "tick" }));
  } else if (lane.kind === "valence") {
    put(part((v) => v > 0), { class: "pleasant" });
    put(part((v) => v < 0), { class: "unpleasant" });
    put(first, { class: "outline" }, false);
  } else {
    put(first, { class: "moved" });
    if (second) put(second.map((v) => (v === null ? null : -v)), { class: "moved other" });
  }
  return svg;
}

// Draw the lanes of a face into an element; go(seconds) is called on a click. found: its curves.
export function drawMovements(box, head, found, face, range, go) {
  box.replaceChildren(...head.movements.map((lane) => {
    const made = document.createElement("div");
    made.className = "movement";
    made.title = `${lane.title}: ${lane.about}`;
    const svg = drawing(lane, found, head, face, range);
    svg.addEventListener("click", (event) => {
      const { left, width } = svg.getBoundingClientRect();
      go(range[0] + ((event.clientX - left) / width) * (range[1] - range[0]));
    });
    const name = document.createElement("span");
    name.textContent = lane.title;
    const value = document.createElement("output");
    made.append(svg, name, value);
    return made;
  }));
}

function valueOf(lane, found, i) {
  const shown = lane.at.map((at) => found.moved[at][i]);
  if (lane.kind === "blinks") return "";
  if (shown.some((v) => v === null)) return "–";
  if (lane.kind === "valence" || lane.kind === "two_way") return (shown[0] < 0 ? "−" : "+") + Math.abs(shown[0]).toFixed(2);
  return `${shown.map((v) => Math.round(100 * v)).join(" / ")} %`;
}

// Show the values at a time beside the lanes; none if the face is not visible then.
export function showValues(box, head, found, time) {
  let best = -1;
  found.time_s.forEach((t, i) => {
    if (t !== null && (best < 0 || Math.abs(t - time) < Math.abs(found.time_s[best] - time))) best = i;
  });
  const step = found.time_s.length > 1 ? Math.abs(found.time_s.at(-1) - found.time_s[0]) / (found.time_s.length - 1) : 0;
  const there = best >= 0 && Math.abs(found.time_s[best] - time) <= Math.max(0.5, 2 * step);
  [...box.children].forEach((made, i) => {
    made.querySelector("output").textContent = there ? valueOf(head.movements[i], found, best) : "";
  });
}

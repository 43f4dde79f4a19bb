// Draw the curve before an event: the rule's value, its threshold, and the frames that count.
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [520, 150, 44, 22];

function make(kind, about, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [key, value] of Object.entries(about)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const levelOf = (rule) => Number(/>= ([\d.]+) %/.exec(rule)?.[1] ?? NaN) / 100;

// record: from a guard's log. Returns an SVG, or null for an event without a curve.
export function drawEventCurve(record) {
  const why = record.why;
  if (!why?.time_s.length) return null;
  const [from, to] = [why.time_s[0], why.time_s.at(-1)];
  const x = (t) => LEFT + ((t - from) / Math.max(1e-3, to - from)) * (WIDTH - LEFT - 8);
  const y = (v) => 8 + (1 - v) * (HEIGHT - BOTTOM - 8);
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "why", role: "img", "aria-label": describeEvent(record) });
  for (const v of [0, 0.5, 1]) {
    svg.append(make("line", { x1: LEFT, x2: WIDTH - 8, y1: y(v), y2: y(v), class: "grid" }));
    svg.append(make("text", { x: LEFT - 6, y: y(v) + 4, "text-anchor": "end" }, `${100 * v} %`));
  }
  for (const [i, t] of why.time_s.entries()) {
    const until = why.time_s[i + 1] ?? t;
    if (why.counts[i] && until > t) {
      svg.append(make("rect", { x: x(t), y: y(0) - 6, width: x(until) - x(t) + 0.5, height: 6, class: "counts" }));
    }
  }
  const level = levelOf(record.rule);
  if (!Number.isNaN(level)) svg.append(make("line", { x1: LEFT, x2: WIDTH - 8, y1: y(level), y2: y(level), class: "level" }));
  let path = "";
  for (const [i, v] of why.value.entries()) {
    if (v === null) continue;
    path += `${i && why.value[i - 1] !== null ? "L" : "M"}${x(why.time_s[i]).toFixed(1)} ${y(v).toFixed(1)}`;
  }
  svg.append(make("path", { d: path, class: "value" }));
  svg.append(make("text", { x: LEFT, y: HEIGHT - 4 }, `${(to - from).toFixed(1)} s before`));
  svg.append(make("text", { x: WIDTH - 8, y: HEIGHT - 4, "text-anchor": "end" }, record.event));
  return svg;
}

export const ruleText = (rule) => rule.replaceAll(">=", "≥").replaceAll("->", "→");

export function describeEvent(record) {
  const counted = record.counted_s === null || record.counted_s === undefined ? "" : `; ${record.counted_s.toFixed(1)} s counted`;
  const value = record.value === null || record.value === undefined ? "" : `; ${Math.round(100 * record.value)} % at that moment`;
  return `${ruleText(record.rule ?? record.reason ?? "")}${counted}${value}`;
}

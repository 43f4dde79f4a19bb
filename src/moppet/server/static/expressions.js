// The style of each expression: a color from palette.css, and a dash pattern for color-blind readers.
const DASH_OF = { surprise: "dash", fear: "dash", disgust: "dot", anger: "dot" };
const colors = new Map();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => colors.clear());

function colorOf(name) {
  if (!colors.has(name)) {
    colors.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--e-${name}`).trim());
  }
  return colors.get(name);
}

// names: all classes of the model; classes without a fixed color get different ones.
export function styleOf(name, names) {
  if (colorOf(name)) return [colorOf(name), DASH_OF[name] ?? "solid"];
  const others = names.filter((other) => !colorOf(other));
  return [colorOf(Math.max(0, others.indexOf(name)) % 5), "solid"];
}

export const DASHES = { solid: [], dash: [7, 4], dot: [2, 3] };

export function legendOf(names) {
  return names.map((name) => {
    const [color, dash] = styleOf(name, names);
    const item = document.createElement("li");
    const line = document.createElement("span");
    line.style.borderTop = `3px ${{ solid: "solid", dash: "dashed", dot: "dotted" }[dash]} ${color}`;
    item.append(line, name);
    return item;
  });
}

// Describe a row of a timeline: "happiness, 92 %", "sadness, unsure" or "no face".
export function describeRow(row) {
  if (row.face_id === null) return row.status.replace("_", " ");
  if (row.expression === null) return `face ${row.face_id}: image quality too low`;
  const sure = row.unsure ? "unsure" : `${Math.round(row.confidence * 100)} %`;
  return `face ${row.face_id}: ${row.expression}, ${sure}`;
}

export const clock = (s) => `${s.toFixed(3)} s`;

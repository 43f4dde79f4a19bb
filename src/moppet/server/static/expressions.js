// How each expression is drawn: Okabe and Ito's colours, which colour-blind readers tell apart; dashes besides.
const LOOKS = {
  neutral: ["#8a8f96", "solid"], happiness: ["#e69f00", "solid"], sadness: ["#0072b2", "solid"],
  surprise: ["#56b4e9", "dash"], fear: ["#cc79a7", "dash"], disgust: ["#009e73", "dot"],
  anger: ["#d55e00", "dot"],
};
const SPARE = ["#7a5195", "#7f7f1a", "#2a7f86", "#b3446c", "#8c6239"];

// names: all classes of the model, so that those without a colour of their own get different ones.
export function lookOf(name, names) {
  return LOOKS[name] ?? [SPARE[Math.max(0, names.indexOf(name)) % SPARE.length], "solid"];
}

export const DASHES = { solid: [], dash: [7, 4], dot: [2, 3] };

export function legendOf(names) {
  return names.map((name) => {
    const [colour, dash] = lookOf(name, names);
    const item = document.createElement("li");
    const line = document.createElement("span");
    line.style.borderTop = `3px ${{ solid: "solid", dash: "dashed", dot: "dotted" }[dash]} ${colour}`;
    item.append(line, name);
    return item;
  });
}

// "happiness, 92 %", "sadness, unsure" or "no face": what a row of a timeline says.
export function wordsOf(row) {
  if (row.face_id === null) return row.status.replace("_", " ");
  if (row.expression === null) return `face ${row.face_id}: too poor to read`;
  const sure = row.unsure ? "unsure" : `${Math.round(row.confidence * 100)} %`;
  return `face ${row.face_id}: ${row.expression}, ${sure}`;
}

export const clock = (s) => `${s.toFixed(3)} s`;

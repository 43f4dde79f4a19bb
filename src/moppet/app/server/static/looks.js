// How expressions look, everywhere: Okabe and Ito's colours, which colour-blind readers tell apart; dashes besides.
const LOOKS = {
  neutral: ["#8a8f96", "solid"], happiness: ["#e69f00", "solid"], sadness: ["#0072b2", "solid"],
  surprise: ["#56b4e9", "dash"], fear: ["#cc79a7", "dash"], disgust: ["#009e73", "dot"],
  anger: ["#d55e00", "dot"],
};
const SPARE = ["#7a5195", "#7f7f1a", "#2a7f86", "#b3446c", "#8c6239"];

// names: the model's classes; one of its own takes a spare colour by its place.
export const look = (name, names) => LOOKS[name] ?? [SPARE[names.indexOf(name) % SPARE.length], "solid"];
export const clock = (s) => `${s.toFixed(3)} s`;

// The shares of a face's sure time: the model's, and those with the coders' corrections.
import { $, element } from "./dom.js";

const percent = (share) => (share === null ? "–" : `${Math.round(100 * share)} %`);
const seconds = (time_s) => (time_s === null ? "–" : `${time_s.toFixed(1)} s`);

export function listShares(shares) {
  const lines = ["groups", "expressions"].flatMap((kind) => shares[kind].map((one) => {
    const name = kind === "groups" ? `[${one.label}]` : one.label;
    const cells = [name, percent(one.share), percent(one.corrected), one.unsure_faces ?? seconds(one.time_unsure_s)];
    return element("tr", {}, ...cells.map((text) => element("td", {}, text)));
  }));
  $("#shares").tBodies[0].replaceChildren(...lines);
}

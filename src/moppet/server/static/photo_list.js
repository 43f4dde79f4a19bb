// One row for each photo: its file name, and the reading of each face in it.
import { element } from "./dom.js";
import { styleOf } from "./expressions.js";

function reading(row) {
  if (row.expression === null) return "no reading";
  const group = row.group ? ` [${row.group}]` : "";
  return `${row.expression} ${Math.round(100 * row.confidence)} %${group}`;
}

// selected: a face's id. at_s: the photo that is shown. choose(face), go(seconds): on a click.
export function listPhotos(box, head, selected, at_s, choose, go) {
  const name = (id) => head.faces.find((face) => face.id === id)?.name ?? `face ${id}`;
  box.replaceChildren(...head.photos.map((photo) => {
    const file = element("button", { type: "button", className: "plain", textContent: photo.file });
    file.setAttribute("aria-pressed", String(photo.at_s === at_s));
    file.addEventListener("click", () => (photo.faces.length ? choose(photo.faces[0].id) : go(photo.at_s)));
    const faces = photo.faces.map((row) => {
      const face = element("button", { type: "button", className: "plain" });
      const color = element("span", { className: "dot" });
      color.style.background = row.expression === null ? "" : styleOf(row.expression, head.names)[0];
      const marks = [row.unsure && "unsure", row.status !== "ok" && row.status.replace("_", " ")].filter(Boolean);
      face.append(color, photo.faces.length > 1 ? `${name(row.id)}: ` : "", reading(row), ...marks.map((mark) => element("em", {}, mark)));
      face.setAttribute("aria-pressed", String(row.id === selected && photo.at_s === at_s));
      face.addEventListener("click", () => choose(row.id, photo.at_s));
      return face;
    });
    const none = element("span", { className: "quiet" }, photo.status.replace("_", " "));
    return element("li", {}, file, element("div", {}, ...(faces.length ? faces : [none])));
  }));
}

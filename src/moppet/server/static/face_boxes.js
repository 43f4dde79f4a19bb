// Boxes and expressions over the camera image, which is shown mirrored.
import { styleOf } from "./expressions.js";

export function drawFaces(canvas, answer, names) {
  const [width, height] = answer.size_px;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  for (const row of answer.rows) {
    if (row.face_id !== null) drawFace(pen, row, width, names);
  }
}

function drawFace(pen, row, width, names) {
  const left = width - row.box_x - row.box_w;
  const word = row.expression ?? "image quality too low";
  pen.strokeStyle = styleOf(word, names)[0];
  pen.lineWidth = Math.max(2, width / 250);
  pen.setLineDash(row.unsure ? [8, 6] : []);
  pen.strokeRect(left, row.box_y, row.box_w, row.box_h);
  pen.font = `${Math.max(12, Math.round(width / 32))}px system-ui, sans-serif`;
  const text = row.unsure ? `${word}?` : word;
  const wide = pen.measureText(text).width + 10;
  const high = Math.max(16, width / 25);
  const top = row.box_y > high ? row.box_y - high : Math.max(0, row.box_y + row.box_h);
  pen.fillStyle = "rgba(0,0,0,.7)";
  pen.fillRect(left, top, wide, high);
  pen.fillStyle = "#fff";
  pen.fillText(text, left + 5, top + high * 0.75);
}

export function wipe(canvas) {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

// The face shown in the curve and the text: the largest.
export function largest(rows) {
  const faces = rows.filter((row) => row.face_id !== null);
  return faces.reduce((a, b) => (b.box_w * b.box_h > a.box_w * a.box_h ? b : a), faces[0]) ?? rows[0];
}

// The curve of the last minute, redrawn with every frame.
import { DASHES, styleOf } from "./expressions.js";

const SPAN_S = 60;
const GAP_S = 1;
const EDGE = { left: 42, right: 8, top: 8, bottom: 22 };

export class Curve {
  constructor(canvas) {
    this.canvas = canvas;
    this.names = [];
    this.clear();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  clear() {
    this.points = [];
    this.draw();
  }

  // row: of a timeline; a different face, or no face, breaks the lines.
  add(row) {
    this.points.push(row);
    while (row.time_s - this.points[0].time_s > SPAN_S) this.points.shift();
    this.draw();
  }

  draw() {
    const { canvas } = this;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const now = this.points.at(-1)?.time_s ?? 0;
    const x = (t) => EDGE.left + (1 + (t - now) / SPAN_S) * (width - EDGE.left - EDGE.right);
    const y = (p) => EDGE.top + (1 - p) * (height - EDGE.top - EDGE.bottom);
    this.grid(pen, x, y, now);
    this.unsure(pen, x, y);
    for (const name of this.names) this.line(pen, name, x, y);
  }

  grid(pen, x, y, now) {
    const style = getComputedStyle(document.body);
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = style.getPropertyValue("--quiet");
    pen.strokeStyle = style.getPropertyValue("--line");
    pen.textAlign = "right";
    for (const p of [0, 0.25, 0.5, 0.75, 1]) {
      pen.beginPath();
      pen.moveTo(x(now - SPAN_S), y(p));
      pen.lineTo(x(now), y(p));
      pen.stroke();
      if (p % 0.5 === 0) pen.fillText(`${100 * p} %`, x(now - SPAN_S) - 3, y(p) + 4);
    }
    for (const ago of this.canvas.clientWidth < 400 ? [60, 30, 0] : [60, 45, 30, 15, 0]) {
      pen.textAlign = ago === 60 ? "left" : ago ? "center" : "right";
      pen.fillText(ago ? `−${ago} s` : "now", x(now - ago), y(0) + 16);
    }
  }

  unsure(pen, x, y) {
    pen.fillStyle = "rgba(138,143,150,.45)";
    for (const [i, row] of this.points.entries()) {
      const until = this.points[i + 1]?.time_s ?? row.time_s + 0.1;
      if (row.unsure && until - row.time_s < GAP_S) {
        pen.fillRect(x(row.time_s), y(0) - 6, Math.max(1, x(until) - x(row.time_s)), 6);
      }
    }
  }

  line(pen, name, x, y) {
    const [color, dash] = styleOf(name, this.names);
    pen.strokeStyle = color;
    pen.lineWidth = 2;
    pen.setLineDash(DASHES[dash]);
    pen.beginPath();
    let before;
    for (const row of this.points) {
      const value = row[`s_${name}`];
      if (value === null) {
        before = undefined;
        continue;
      }
      const joins = before?.face_id === row.face_id && row.time_s - before.time_s <= GAP_S;
      pen[joins ? "lineTo" : "moveTo"](x(row.time_s), y(value));
      before = row;
    }
    pen.stroke();
    pen.setLineDash([]);
  }
}

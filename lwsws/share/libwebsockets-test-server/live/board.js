// lws-mirror-protocol: a board to draw on together. The server tells what one draws to all who look at
// the same board, the one who draws included; nothing is shown before it came back, so all see the same.
//
//   d #RRGGBB X0 Y0 X1 Y1;     a line
//   c #RRGGBB X Y R;           a dot

import { Socket } from "../server-status/socket.js";

const WIDTH = 960; // of the board, in the units of the messages, however large it is shown
const HEIGHT = 600;
const SHARPNESS = 2; // pixels of a unit
const PEN = 6; // units
const STEP = 20; // units that an arrow key goes
const SHAPE = /^\s*([dc]) (#[0-9a-f]{6})((?: -?\d{1,5}){3,4})$/i;

const part = document.getElementById("board");
const canvas = part.querySelector("canvas");
const cross = part.querySelector(".cross");
const pen = canvas.getContext("2d");

const name = new URLSearchParams(location.search).get("mirror") ?? "";
const query = name ? `?mirror=${encodeURIComponent(name)}` : "";

const socket = new Socket("lws-mirror-protocol", part.querySelector(".state"), { received: draw }, query);

// Drawing what came.

function draw(text) {
  for (const shape of text.split(";")) {
    const [, kind, colour, rest] = SHAPE.exec(shape) ?? [];
    const numbers = (rest ?? "").trim().split(" ").map(Number);
    if (kind === "d" && numbers.length === 4) {
      drawLine(colour, ...numbers);
    } else if (kind === "c" && numbers.length === 3) {
      drawDot(colour, ...numbers);
    }
  }
}

function drawLine(colour, x0, y0, x1, y1) {
  pen.strokeStyle = colour;
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}

function drawDot(colour, x, y, radius) {
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(x, y, Math.max(0, radius), 0, 2 * Math.PI);
  pen.fill();
}

function wipe() {
  canvas.width = WIDTH * SHARPNESS; // which also forgets the rest
  canvas.height = HEIGHT * SHARPNESS;
  pen.scale(SHARPNESS, SHARPNESS);
  pen.lineWidth = PEN;
  pen.lineCap = "round";
}

// Telling what is drawn here. A pointer moves more often than the screen is painted: what came in
// between is one message.

let waiting = "";
let last = null; // where the pressed pointer was, null while none is

function tell(shape) {
  if (!waiting) {
    requestAnimationFrame(() => {
      socket.send(waiting);
      waiting = "";
    });
  }
  waiting += shape;
}

function colour() {
  return part.querySelector("input[name=colour]:checked").value;
}

function clamp(value, most) {
  return Math.round(Math.min(Math.max(value, 0), most));
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [
    clamp(((event.clientX - box.left) / box.width) * WIDTH, WIDTH),
    clamp(((event.clientY - box.top) / box.height) * HEIGHT, HEIGHT),
  ];
}

function tellDot([x, y]) {
  tell(`c ${colour()} ${x} ${y} ${PEN};`);
}

function tellLine(from, to) {
  tell(`d ${colour()} ${from.join(" ")} ${to.join(" ")};`);
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.isPrimary && event.button === 0) {
    canvas.setPointerCapture(event.pointerId); // lines go on when the pointer leaves the board
    last = place(event);
    tellDot(last);
  }
});

canvas.addEventListener("pointermove", (event) => {
  if (last && event.isPrimary) {
    for (const step of event.getCoalescedEvents?.() ?? [event]) {
      const next = place(step);
      tellLine(last, next);
      last = next;
    }
  }
});

for (const kind of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(kind, () => (last = null));
}

// By keyboard: arrows draw, with Shift they only move, Space makes a dot.

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
let at = [WIDTH / 2, HEIGHT / 2];

function showCross() {
  cross.style.left = `${(at[0] / WIDTH) * 100}%`;
  cross.style.top = `${(at[1] / HEIGHT) * 100}%`;
}

canvas.addEventListener("keydown", (event) => {
  const arrow = ARROWS[event.key];
  if (!arrow && event.key !== " ") {
    return;
  }
  event.preventDefault(); // the page shall not scroll
  if (!arrow) {
    tellDot(at);
    return;
  }
  const next = [clamp(at[0] + STEP * arrow[0], WIDTH), clamp(at[1] + STEP * arrow[1], HEIGHT)];
  if (!event.shiftKey) {
    tellLine(at, next);
  }
  at = next;
  showCross();
});

part.querySelector(".wipe").addEventListener("click", wipe);
part.querySelector(".name").textContent = name || "the common one";
part.querySelector("input[name=mirror]").value = name;
wipe();
showCross();
socket.open();

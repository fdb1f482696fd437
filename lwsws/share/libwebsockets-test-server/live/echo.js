// lws-echo: what is sent comes back; how long that takes, and how a connection is closed.

import { Socket } from "../server-status/socket.js";

const SHOWN = 6; // lines
const MANY = 100; // round trips of the measurement

const part = document.getElementById("echo");
const lines = part.querySelector("ol");
const figures = part.querySelector(".figures");
const [say, leave] = part.querySelectorAll("form");
const many = part.querySelector(".many");
const toggle = leave.querySelector("button");

const sent = []; // { text, since, isTimed } of what has not come back yet
let times = []; // ms, of the round trips of the measurement that runs
let left = 0; // how many of them are still to come

const socket = new Socket("lws-echo", part.querySelector(".state"), {
  opened: showControls,
  closed() {
    sent.length = left = 0; // what was on its way will not come any more
    showControls();
  },
  received: cameBack,
});

function showControls() {
  many.disabled = say.querySelector("button").disabled = !socket.isOpen;
  toggle.textContent = socket.isOpen ? "Close" : "Connect";
}

function send(text, isTimed = false) {
  const since = performance.now();
  if (socket.send(text)) {
    sent.push({ text, since, isTimed });
  }
}

function cameBack(text) {
  const { text: original, since, isTimed } = sent.shift();
  const took = performance.now() - since;
  if (isTimed) {
    times.push(took);
    timeNext(); // not before this one is back
  } else {
    addLine(text, text === original ? `${took.toFixed(1)} ms` : "that is not what was sent");
  }
}

function timeNext() {
  if (left > 0) {
    left -= 1;
    send(`${left} to go`, true);
  } else {
    showFigures();
  }
}

function addLine(text, remark) {
  const line = document.createElement("li");
  const note = document.createElement("span");
  line.textContent = text;
  note.textContent = remark;
  line.append(note);
  lines.append(line);
  while (lines.children.length > SHOWN) {
    lines.firstElementChild.remove();
  }
}

function showFigures() {
  times.sort((one, other) => one - other);
  const [least, middle, most] = [times[0], times[times.length >> 1], times[times.length - 1]];
  figures.textContent =
    `${times.length} round trips: ${least.toFixed(1)} ms at best, ${middle.toFixed(1)} ms in the middle, ` +
    `${most.toFixed(1)} ms at worst`;
}

say.addEventListener("submit", (event) => {
  event.preventDefault();
  send(say.elements.text.value);
  say.elements.text.select();
});

many.addEventListener("click", () => {
  if (!sent.some(({ isTimed }) => isTimed)) {
    times = [];
    left = MANY;
    timeNext();
  }
});

leave.addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket.isOpen) {
    socket.close(Number(leave.elements.code.value));
  } else {
    socket.open();
  }
});

showControls();
socket.open();

// dumb-increment-protocol: a number from the server, twenty times a second.

import { Socket } from "../server-status/socket.js";

const RATE_EVERY = 1000; // ms over which numbers are counted

const part = document.getElementById("counter");
const number = part.querySelector(".number");
const rate = part.querySelector(".rate");
const reset = part.querySelector(".reset");
const toggle = part.querySelector(".toggle");
const hangup = part.querySelector(".hangup");

let count = 0; // numbers since the rate was shown
let since = performance.now();

const socket = new Socket("dumb-increment-protocol", part.querySelector(".state"), {
  opened: showButtons,
  closed: showButtons,
  received(text) {
    number.textContent = text;
    count += 1;
  },
});

function showButtons() {
  reset.disabled = hangup.disabled = !socket.isOpen;
  toggle.textContent = socket.isOpen ? "Close" : "Connect";
}

function showRate() {
  const now = performance.now();
  rate.textContent = socket.isOpen ? `${Math.round((count * 1000) / (now - since))} a second` : "";
  count = 0;
  since = now;
}

reset.addEventListener("click", () => socket.send("reset\n"));

hangup.addEventListener("click", () => {
  socket.stayClosed();
  socket.send("closeme\n");
});

toggle.addEventListener("click", () => (socket.isOpen ? socket.close() : socket.open()));

setInterval(showRate, RATE_EVERY);
showButtons();
socket.open();

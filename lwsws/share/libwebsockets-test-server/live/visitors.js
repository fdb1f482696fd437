// lws-status: who else has this page open.

import { Socket } from "../server-status/socket.js";

const SHOWN = 12;

const part = document.getElementById("visitors");
const list = part.querySelector("ol");
const count = part.querySelector(".count");
const more = part.querySelector(".more");

const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

function span(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}

function item({ peer, time: seconds, ua }) {
  const since = new Date(1000 * Number(seconds));
  const when = document.createElement("time");
  when.dateTime = since.toISOString();
  when.textContent = `since ${time.format(since)}`;
  const element = document.createElement("li");
  element.append(span("peer", peer), when, span("agent", ua));
  return element;
}

function show(text) {
  const { version, hostname, wsi, conns } = JSON.parse(text);
  const open = Number(wsi);
  count.textContent = `${open === 1 ? "One connection" : `${open} connections`} to ${hostname}, lwsws ${version}`;
  list.replaceChildren(...conns.slice(0, SHOWN).map(item));
  more.hidden = open <= SHOWN;
  more.textContent = `and ${open - SHOWN} more`;
}

new Socket("lws-status", part.querySelector(".state"), { received: show }).open();

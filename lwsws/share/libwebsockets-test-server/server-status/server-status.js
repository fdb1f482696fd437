// lws-server-status: shows the reports that the server sends every few seconds. Names in them are the
// original's, and all numbers are strings; what only lwsws in Python knows stands in its object "lwsws".
// Whatever comes from the server is put into the page as text.

import { Graph } from "./graph.js";
import { Socket } from "./socket.js";
import { bytes, count, duration } from "./units.js";

const SHORT = 0.2; // seconds: what happened in less says nothing about the rate

const graphs = {
  connections: new Graph("Connections", ["open"], count, 5),
  requests: new Graph("Requests per second", ["requests"], count, 5),
  traffic: new Graph("Bytes per second", ["received", "sent"], bytes, 1000),
  memory: new Graph("Memory", ["resident"], bytes, 1e6),
};
document.getElementById("graphs").append(...Object.values(graphs).map(({ figure }) => figure));

function make(name, text, className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  element.className = className;
  return element;
}

function seconds() {
  return performance.now() / 1000;
}

// Graphs. Rates come from two reports of the same process.

let before = null; // { time, pid, requests, received, sent } of the last report that rates were taken from

function rates(context) {
  const now = {
    time: seconds(),
    pid: context.lwsws?.pid,
    requests: Number(context.h1_trans) + Number(context.h2_trans),
    received: Number(context.rx),
    sent: Number(context.tx),
  };
  const past = before;
  if (past?.pid !== now.pid) {
    before = now;
    return null;
  }
  const passed = now.time - past.time;
  if (passed < SHORT) {
    return null;
  }
  before = now;
  const rate = (name) => Math.max(now[name] - past[name], 0) / passed;
  return { requests: rate("requests"), received: rate("received"), sent: rate("sent") };
}

function addToGraphs(info, context) {
  const time = seconds();
  const rate = rates(context);
  graphs.connections.add(time, [Number(context.lwsws?.connections ?? context.wsi_alive)]);
  graphs.memory.add(time, [Number(context.lwsws?.memory ?? info.heap)]);
  if (rate) {
    graphs.requests.add(time, [rate.requests]);
    graphs.traffic.add(time, [rate.received, rate.sent]);
  }
}

function addGap() {
  before = null;
  for (const graph of Object.values(graphs)) {
    graph.add(seconds(), null);
  }
}

// Numbers.

function numbersOf(info, context) {
  const own = context.lwsws ?? {};
  const workers = own.workers ?? {};
  return [
    ["connections open", count(Number(own.connections ?? context.wsi_alive))],
    ["at most", own.max_connections && count(Number(own.max_connections))],
    ["WebSockets open", own.websockets && count(Number(own.websockets))],
    ["accepted so far", own.accepted && count(Number(own.accepted))],
    ["requests", count(Number(context.h1_trans) + Number(context.h2_trans))],
    ["rejected", count(Number(context.rejected))],
    ["received", bytes(Number(context.rx))],
    ["sent", bytes(Number(context.tx))],
    ["workers busy, of those started", workers.threads && `${workers.busy} of ${workers.threads}`],
    ["jobs waiting", workers.waiting],
    ["sockets it may have", count(Number(context.pt_fd_max))],
    ["load of the machine", `${info.l1} ${info.l2} ${info.l3}`],
  ].filter(([, value]) => value !== undefined);
}

function showNumbers(numbers) {
  document.getElementById("numbers").replaceChildren(...numbers.map(([name, value]) => {
    const pair = document.createElement("div");
    pair.append(make("dt", name), make("dd", value));
    return pair;
  }));
}

function showSummary(info, context) {
  const own = context.lwsws;
  const process = own ? `, process ${own.pid}, generation ${own.generation}` : "";
  const state = context.deprecated === "1" ? ", finishing what is open" : "";
  document.getElementById("summary").textContent =
    `lwsws ${info.version}${process}, up for ${duration(Number(context.context_uptime))}${state}`;
}

// Processes.

function processRow(process, ownPid) {
  const row = document.createElement("tr");
  const name = make("th", process.pid);
  name.scope = "row";
  if (process.pid === ownPid) {
    name.append(make("span", "this one", "own"));
  }
  const state = make("td", process.state, "process-state");
  state.dataset.state = process.state;
  const figures = [
    duration(Number(process.uptime)),
    ...[process.connections, process.websockets, process.accepted, process.refused]
      .map((number) => count(Number(number))),
    `${process.busy} of ${process.threads}`,
  ];
  row.append(name, make("td", process.generation, "figure"), state,
    ...figures.map((figure) => make("td", figure, "figure")));
  return row;
}

function showProcesses(own) {
  const processes = own?.processes ?? [];
  const section = document.getElementById("processes");
  section.hidden = processes.length === 0;
  section.querySelector("tbody").replaceChildren(...processes.map((process) => processRow(process, own.pid)));
}

// Vhosts.

let shownMounts = ""; // what the lists of mounts were made from: made anew, they would all be closed

function vhostRow(vhost) {
  const row = document.createElement("tr");
  const name = make("th", vhost.name);
  name.scope = "row";
  const port = vhost.use_ssl === "1" ? `${vhost.port} TLS` : vhost.port;
  const figures = [
    port,
    count(Number(vhost.h1_conn)),
    count(Number(vhost.h1_trans) + Number(vhost.h2_trans)),
    count(Number(vhost.ws_upg)),
    count(Number(vhost.rejected)),
    bytes(Number(vhost.rx)),
    bytes(Number(vhost.tx)),
  ];
  row.append(name, ...figures.map((figure) => make("td", figure, "figure")));
  return row;
}

function mountRow(mount) {
  const row = document.createElement("tr");
  const keeps = Number(mount.cache_max_age) ? `${duration(Number(mount.cache_max_age))}` : "no";
  row.append(make("th", mount.mountpoint), make("td", mount.origin), make("td", mount.default ?? ""),
    make("td", keeps));
  row.firstChild.scope = "row";
  return row;
}

function mountsOf(vhost) {
  const details = document.createElement("details");
  const scroll = make("div", "", "scroll");
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const title of ["mountpoint", "origin", "default", "cached"]) {
    head.append(make("th", title));
    head.lastChild.scope = "col";
  }
  table.createTBody().append(...vhost.mounts.map(mountRow));
  scroll.append(table);
  const names = vhost["ws-protocols"].flatMap(Object.keys).join(", ");
  details.append(make("summary", `Mounts and protocols of ${vhost.name}:${vhost.port}`), scroll,
    make("p", names ? `Protocols: ${names}` : "No protocols", "protocols"));
  return details;
}

function showVhosts(vhosts) {
  const section = document.getElementById("vhosts");
  section.hidden = vhosts.length === 0;
  section.querySelector("tbody").replaceChildren(...vhosts.map(vhostRow));
  const mounts = JSON.stringify(vhosts.map((vhost) => [vhost.name, vhost.port, vhost.mounts, vhost["ws-protocols"]]));
  if (mounts !== shownMounts) {
    document.getElementById("mounts").replaceChildren(...vhosts.map(mountsOf));
    shownMounts = mounts;
  }
}

function showFiles(files) {
  const section = document.getElementById("files");
  section.hidden = files.length === 0;
  section.querySelector("dl").replaceChildren(
    ...files.flatMap(({ path, val }) => [make("dt", path), make("dd", val.trim())]));
}

function show(text) {
  const { i: info, files } = JSON.parse(text);
  const context = info.contexts[0];
  showSummary(info, context);
  addToGraphs(info, context);
  showNumbers(numbersOf(info, context));
  showProcesses(context.lwsws);
  showVhosts(context.vhosts);
  showFiles(files ?? []);
  document.body.classList.remove("is-stale");
}

new Socket("lws-server-status", document.querySelector(".state"), {
  received: show,
  closed() {
    document.body.classList.add("is-stale");
    addGap();
  },
}).open();

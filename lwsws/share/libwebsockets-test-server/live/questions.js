// Puts four small questions to the server that sent this page and shows what it answered.

const NOT_STORED = { cache: "no-store" }; // ask the server itself, never the browser's cache

async function ask(url, options) {
  const began = performance.now();
  const response = await fetch(url, { ...NOT_STORED, ...options });
  return { response, took: performance.now() - began };
}

function show(id, wanted, { response, took }, detail) {
  const tile = document.getElementById(id);
  const isGood = response.status === wanted;
  const time = document.createElement("span");
  time.textContent = `${took.toFixed(1)} ms`;
  tile.querySelector(".status").textContent = response.status;
  tile.querySelector(".detail").replaceChildren(isGood ? detail : `${wanted} was expected`, time);
  tile.classList.add(isGood ? "good" : "bad");
}

function showFields(response) {
  const list = document.querySelector("#headers dl");
  for (const [name, value] of response.headers) {
    const term = document.createElement("dt");
    const meaning = document.createElement("dd");
    term.textContent = name;
    meaning.textContent = value;
    list.append(term, meaning);
  }
  document.getElementById("headers").hidden = false;
}

async function askAll() {
  const head = await ask(".", { method: "HEAD" });
  const length = Number(head.response.headers.get("content-length"));
  show("ask-head", 200, head, length ? `${length} bytes long` : "no body");
  showFields(head.response);

  const known = head.response.headers.get("etag") ?? '"none"';
  const conditional = await ask(".", { headers: { "If-None-Match": known } });
  show("ask-conditional", 304, conditional, "your copy is fresh");

  const range = await ask("files/alphabet.txt", { headers: { Range: "bytes=0-12" } });
  const bytes = (await range.response.text()).slice(0, 13);
  show("ask-range", 206, range, `“${bytes}”`);

  const missing = await ask("no-such-file.txt");
  show("ask-missing", 404, missing, "as it should be");

  const date = head.response.headers.get("date");
  if (date) {
    document.getElementById("answered").textContent = `This server’s clock: ${date}.`;
  }
}

askAll().catch((reason) => {
  const tiles = document.getElementById("tiles");
  tiles.insertAdjacentText("afterend", `The server did not answer: ${reason.message}`);
});

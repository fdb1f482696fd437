// protocol-post-demo: sends the form in the background, to show how far it is; without this script the
// browser sends it as any other, and shows the page that answers it.

const MAX_OWN_HASH = 64 << 20; // bytes: what is hashed here, too, has to be in memory as a whole
const HASH = /\b[0-9a-f]{64}\b/i; // SHA-256 in hex

const part = document.getElementById("upload");
const form = part.querySelector("form");
const progress = part.querySelector("progress");
const button = form.querySelector("button");
const remark = part.querySelector(".remark");
const table = part.querySelector("table");

const size = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

function megabytes(bytes) {
  return `${size.format(bytes / 1e6)} MB`;
}

// The SHA-256 of a file in hex; "" where it is too large, or the page did not come by a safe way.
async function ownHash(file) {
  if (!crypto.subtle || !file?.size || file.size > MAX_OWN_HASH) {
    return "";
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Sends what is in the form; gives the request once it is answered.
function post(data) {
  const request = new XMLHttpRequest();
  const answer = new Promise((resolve, reject) => {
    request.onload = () => resolve(request);
    request.onerror = () => reject(new Error("the connection broke"));
  });
  request.upload.onprogress = ({ loaded, total }) => {
    progress.max = total;
    progress.value = loaded;
    remark.textContent = `${megabytes(loaded)} of ${megabytes(total)}`;
  };
  request.open("POST", form.action);
  request.responseType = "document"; // only read: its scripts do not run
  request.send(data);
  return answer;
}

// The first table of the answer, cell by cell as text.
function showTable(page) {
  const rows = [...(page?.querySelectorAll("table tr") ?? [])].map(({ cells }) => {
    const row = document.createElement("tr");
    row.append(...[...cells].map((cell) => {
      const copy = document.createElement(cell.localName);
      copy.textContent = cell.textContent;
      return copy;
    }));
    return row;
  });
  table.tBodies[0].replaceChildren(...rows);
  table.hidden = rows.length === 0;
}

function showHash(theirs, ours) {
  part.querySelector(".hash").hidden = !theirs;
  part.querySelector(".hash code").textContent = theirs;
  part.querySelector(".hash .verdict").textContent =
    !ours ? "" : ours === theirs ? "the same as of your file" : `your file has ${ours}`;
}

async function send(data) {
  const began = performance.now();
  const hashing = ownHash(data.get("file")); // meanwhile
  const request = await post(data);
  const page = request.response;
  const took = (performance.now() - began) / 1000;
  remark.textContent = request.status === 200 ? `done in ${took.toFixed(2)} s` : `refused: ${request.status}`;
  showTable(page);
  showHash(HASH.exec(page?.body?.textContent ?? "")?.[0].toLowerCase() ?? "", await hashing);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const data = new FormData(form, event.submitter); // before: what is disabled is not part of it
  button.disabled = true;
  progress.hidden = false;
  progress.removeAttribute("value");
  remark.textContent = "sending";
  send(data)
    .catch((reason) => (remark.textContent = `failed: ${reason.message}`))
    .finally(() => {
      button.disabled = false;
      progress.hidden = true;
    });
});

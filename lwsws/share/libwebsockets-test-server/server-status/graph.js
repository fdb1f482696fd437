// A small graph over time: one curve or two, made of SVG elements, so that the style sheet gives the colours.
// Its words stand beside the drawing, not in it, so that they have the same size on every screen.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 100; // of the drawing, in its own units: it is stretched to the room there is
const HEIGHT = 100;
const SHORTEST = 60; // seconds that the axis has at least
const LONGEST = 600;

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  return made;
}

// The least of 1, 2, 5, 10, 20 ... that is no less than `value`.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= value * 0.999999);
}

function make(name, className, ...content) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...content);
  return made;
}

export class Graph {
  #points = []; // { time, values }, in seconds; values is null where nothing is known
  #title;
  #format;
  #least;
  #curves;
  #svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  #latest = make("strong", "");
  #highest = make("p", "scale");
  #oldest = make("span", "");

  // `names` are those of the curves, `format` makes a text of a value; the axis goes up to `least` or more.
  constructor(title, names, format, least) {
    this.#title = title;
    this.#format = format;
    this.#least = least;
    this.#curves = names.map((_, number) => element("path", { class: number ? "curve second" : "curve" }));
    const grid = [0, HEIGHT / 2, HEIGHT].map((y) =>
      element("line", { class: "grid", x1: 0, x2: WIDTH, y1: y, y2: y }));
    this.#svg.append(...grid, ...this.#curves);
    const keys = names.map((name, number) => make("span", number ? "key second" : "key", name));
    this.figure = make("figure", "graph",
      make("figcaption", "", make("span", "", title, ...(keys.length > 1 ? keys : [])), this.#latest),
      this.#highest,
      this.#svg,
      make("p", "scale", this.#oldest, make("span", "", "now")));
  }

  // `values`: one for each curve, or null if nothing is known of this time.
  add(time, values) {
    this.#points.push({ time, values });
    while (this.#points.length > 2 && this.#points[1].time < time - LONGEST) {
      this.#points.shift();
    }
    this.#draw();
  }

  #draw() {
    const { time: end, values: latest } = this.#points.at(-1);
    const span = Math.min(Math.max(end - this.#points[0].time, SHORTEST), LONGEST);
    const top = roundUp(Math.max(this.#least, ...this.#points.flatMap(({ values }) => values ?? [])));
    this.#curves.forEach((curve, number) => curve.setAttribute("d", this.#path(number, end, span, top)));
    const now = latest?.map(this.#format).join(", ") ?? "unknown";
    this.#latest.textContent = now;
    this.#highest.textContent = this.#format(top);
    this.#oldest.textContent = `${Math.round(span / 60)} min ago`;
    this.#svg.setAttribute("aria-label", `${this.#title}: ${now} now; the axis ends at ${this.#format(top)}`);
  }

  // A line from point to point, with gaps; a point alone becomes a dot by its round end.
  #path(number, end, span, top) {
    let path = "";
    let isOpen = false;
    for (const { time, values } of this.#points) {
      const isShown = values !== null && time >= end - span;
      if (isShown) {
        const x = WIDTH * (1 - (end - time) / span);
        const y = HEIGHT * (1 - values[number] / top);
        path += `${isOpen ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}${isOpen ? "" : "h0"}`;
      }
      isOpen = isShown;
    }
    return path;
  }
}

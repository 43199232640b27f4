// The explorer.
const NAMES = { tier_oracle: "Oracle's tier", tier_student: "Student's tier", judged: "Scored as", split: "Split",
  source: "Source", language: "Language", cut: "Window" };
let about = null, shown = [], asked = 0, place = -1;

function drawn(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

async function act(work) {
  try {
    $("fault").hidden = true;
    await work();
  } catch (error) {
    $("fault").textContent = error instanceof TypeError ? "potstill view is no longer running" : error.message;
    $("fault").hidden = false;
  }
}

const number = (value) => (value === null || value === undefined ? "–" : value.toFixed(2));
const spaced = (name) => name.replaceAll("_", " ");

function question(offset) {
  const facets = {};
  for (const select of document.querySelectorAll("select[data-facet]"))
    if (select.value !== "") facets[select.dataset.facet] = select.value;
  return { text: $("text").value, sort: $("sort").value, facets, offset };
}

async function ask(offset) {
  const turn = ++asked;
  const found = await call("api/articles", question(offset));
  // A slower answer to an older question has come too late.
  if (turn !== asked) return;
  shown = offset ? shown.concat(found.rows) : found.rows;
  // Whoever moves by keyboard before the answer comes keeps their place.
  const at = buttons().indexOf(document.activeElement);
  if (!offset) $("rows").replaceChildren();
  $("rows").append(...found.rows.map((row, i) => line(row, offset + i)));
  if (at >= 0) buttons()[Math.min(at, shown.length - 1)]?.focus();
  $("status").textContent = `${found.total.toLocaleString("en")} of ${about.articles.toLocaleString("en")} articles`;
  $("more").hidden = shown.length >= found.total;
}

function line(row, at) {
  const open = element("button", { type: "button", textContent: row.title || row.id });
  open.addEventListener("click", () => act(() => show(at)));
  const cell = (label, text, className = "") => {
    const made = element("td", { className, textContent: text });
    made.dataset.label = label;
    return made;
  };
  const head = element("th", { scope: "row" }, open);
  const same = row.tier_oracle === row.tier_student;
  const tiers = same ? row.tier_oracle : `${row.tier_oracle} → ${row.tier_student}`;
  return element("tr", {}, head, cell("oracle", number(row.oracle)), cell("student", number(row.student)),
    cell("apart", number(row.disagreement), "apart"), cell("tier", tiers, same ? "words" : "words moved"));
}

function strip({ name, oracle, student, low, high }) {
  const [least, most] = about.scale, x = (value) => 4 + (128 * (value - least)) / (most - least);
  const svg = drawn("svg", { viewBox: "0 0 136 18", role: "img",
    "aria-label": `${spaced(name)}: oracle ${number(oracle)}, student ${number(student)}` });
  const bar = (from, to, kind) => svg.append(drawn("line", { x1: x(from), x2: x(to), y1: 9, y2: 9, class: kind }));
  bar(least, most, "track");
  if (typeof low === "number" && typeof high === "number") bar(low, high, "interval");
  if (oracle !== null) svg.append(drawn("line", { x1: x(oracle), x2: x(oracle), y1: 1, y2: 17, class: "oracle" }));
  if (student !== null) svg.append(drawn("circle", { cx: x(student), cy: 9, r: 4.5, class: "student" }));
  return svg;
}

async function show(at) {
  if (at < 0) return;
  if (at >= shown.length && !$("more").hidden) await ask(shown.length);
  if (at >= shown.length) return;
  const article = await call("api/article", { id: shown[at].id });
  place = at;
  $("title").textContent = article.title || article.id;
  $("facts").textContent = [article.id, ...Object.entries(article.facts)
    .map(([name, value]) => `${(NAMES[name] || name).toLowerCase()}: ${value}`)].join(" · ");
  // The window that was read begins with the title, which stands above already.
  const text = article.text || "", title = article.title || "\0";
  const parts = (text.startsWith(title) ? text.slice(title.length).trim() : text).split(/\n\s*\n/);
  $("words").replaceChildren(...parts.map((part) => element("p", { textContent: part })));
  $("evidence").textContent = article.evidence || "not recorded";
  const rows = article.dimensions.map((one) => {
    const head = element("th", { scope: "row", textContent: spaced(one.name), title: one.description });
    return element("tr", {}, head, element("td", { textContent: number(one.oracle) }),
      element("td", { textContent: number(one.student) }), element("td", { className: "words" }, strip(one)));
  });
  const sum = (name, a, b) => element("tr", { className: "strong" }, element("th", { scope: "row", textContent: name }),
    element("td", { textContent: a }), element("td", { textContent: b }), element("td"));
  $("scores").replaceChildren(...rows, sum("overall", number(article.oracle), number(article.student)),
    sum("tier", article.tier_oracle, article.tier_student));
  $("before").disabled = at === 0;
  $("after").disabled = at === shown.length - 1 && $("more").hidden;
  if (!$("article").open) $("article").showModal();
  $("article").scrollTop = 0;
  $("title").focus({ preventScroll: true });
}

const share = (value) => (value === null ? "unknown" : `${(100 * value).toFixed(1)}%`);

async function decide() {
  const settings = $("settings").value.split("\n").map((line) => line.trim()).filter(Boolean);
  const { before, after, moved, articles } = await call("api/whatif", { settings });
  $("volumes").replaceChildren(...after.volumes.map((then) => {
    // A tier keeps its name, whatever happens to its condition.
    const now = before.volumes.find((one) => one.tier === then.tier);
    const counts = [now.oracle, now.student, now.both, then.oracle, then.student, then.both];
    return element("tr", {}, element("th", { scope: "row", textContent: then.tier }),
      ...counts.map((count) => element("td", { textContent: count.toLocaleString("en") })));
  }));
  $("summary").textContent = `Agreement ${share(before.accuracy)}, after the change ${share(after.accuracy)}; recall of positive tiers ` +
    `${share(before.recall)}, after the change ${share(after.recall)}; ${moved.toLocaleString("en")} articles change tier.`;
  $("moved").replaceChildren(...articles.map((one) => element("li", { textContent:
    `${one.title}: ${one.before} → ${one.after} (the oracle's: ${one.oracle})` })));
  $("decided").hidden = false;
}

function facet([name, values]) {
  const select = element("select", {}, element("option", { value: "", textContent: "any" }),
    ...values.map((value) => element("option", { value, textContent: value })));
  select.dataset.facet = name;
  return element("label", {}, NAMES[name] || name, select);
}

const buttons = () => [...$("rows").querySelectorAll("button")];
$("controls").addEventListener("submit", (event) => event.preventDefault());
$("edited").addEventListener("submit", (event) => {
  event.preventDefault();
  act(decide);
});
$("controls").addEventListener("input", () => act(() => ask(0)));
$("more").addEventListener("click", () => act(() => ask(shown.length)));
$("before").addEventListener("click", () => act(() => show(place - 1)));
$("after").addEventListener("click", () => act(() => show(place + 1)));
$("close").addEventListener("click", () => $("article").close());
$("article").addEventListener("close", () => buttons()[place]?.focus());
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], turn = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if ($("article").open) {
    if (turn) act(() => show(place + turn));
  } else if (event.key === "/" && !document.activeElement?.matches("input, textarea")) {
    event.preventDefault();
    $("text").focus();
  } else if (step && !document.activeElement?.matches("select, textarea")) {
    const all = buttons(), next = all[all.indexOf(document.activeElement) + step];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  }
});
act(async () => {
  about = await call("api/about");
  $("name").textContent = `${about.filter} v${about.version}`;
  $("report").href = `report${location.search}`;
  $("report").hidden = !about.report;
  $("controls").append(...Object.entries(about.facets).map(facet));
  await ask(0);
});

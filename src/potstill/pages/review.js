// A reviewer's desk. State lives on the server; the page holds the item that is shown.
let state = null, item = null, place = 0, busy = false;

// One thing at a time: a key that repeats must not judge the next article.
async function act(work) {
  if (busy) return;
  busy = true;
  try {
    fault("");
    await work();
  } catch (error) {
    fault(error instanceof TypeError ? "potstill review is no longer running" : error.message);
  } finally {
    busy = false;
  }
}

function fault(message) {
  $("fault").textContent = message;
  $("fault").hidden = !message;
}

const shown = (value) => (value === null || value === undefined ? "" : String(Math.round(value * 1000) / 1000));
const inputs = () => [...$("dimensions").querySelectorAll("input")];
const clamp = (value) => Math.min(state.scale[1], Math.max(state.scale[0], value));
const left = (value) => `${(100 * (value - state.scale[0])) / (state.scale[1] - state.scale[0])}%`;

function progress() {
  const { judged, corrected } = state, count = state.count;
  $("progress").textContent = `${place + 1} of ${count} · ${judged} judged, ${corrected} corrected`;
  $("meter").style.width = `${(100 * judged) / count}%`;
}

function mark(value, kind, title) {
  const dot = element("i", { className: kind, title: `${title}: ${shown(value)}` });
  dot.style.left = left(value);
  return dot;
}

function draw(input) {
  const name = input.name, row = input.closest(".dimension"), track = row.querySelector(".track");
  const value = input.value === "" ? null : Number(input.value), oracle = item.scores ? item.scores[name] : null;
  track.replaceChildren();
  for (const [who, scores] of Object.entries(item.others))
    if (scores[name] !== null) track.append(mark(scores[name], "other", who));
  if (oracle !== null) track.append(mark(oracle, "oracle", state.oracle));
  if (value !== null) track.append(mark(clamp(value), "mine", state.reviewer));
  row.classList.toggle("changed", Boolean(item.scores) && shown(oracle) !== shown(value));
  const same = item.scores && inputs().every((one) => shown(item.scores[one.name]) === one.value);
  $("save").firstChild.textContent = same ? "Accept " : "Save ";
}

function dimension({ name, description }) {
  const id = `d-${name}`;
  // As text, so that what is typed is read to the letter, and nothing turns with the wheel.
  const input = element("input", { id, name, type: "text", inputMode: "decimal" });
  input.setAttribute("aria-describedby", `${id}-says`);
  input.addEventListener("input", () => draw(input));
  const track = element("div", { className: "track" });
  track.addEventListener("click", (event) => {
    const box = track.getBoundingClientRect(), share = (event.clientX - box.left) / box.width;
    set(input, Math.round(2 * (state.scale[0] + share * (state.scale[1] - state.scale[0]))) / 2);
    input.focus();
  });
  return element("div", { className: "dimension" },
    element("div", { className: "head" }, element("label", { htmlFor: id, textContent: name }), input),
    element("small", { id: `${id}-says`, textContent: description }), track);
}

function set(input, value) {
  input.value = value === null ? "" : shown(clamp(value));
  draw(input);
}

function show(next) {
  item = next;
  $("title").textContent = item.title || item.id;
  $("facts").textContent = [item.source, item.language, item.id].filter(Boolean).join(" · ");
  $("why").textContent = item.why;
  $("why").hidden = !item.why;
  // The window often begins with the title, which stands above it already.
  const rest = item.title && item.text.startsWith(`${item.title}\n`) ? item.text.slice(item.title.length) : item.text;
  $("text").replaceChildren(...rest.trim().split(/\n\s*\n/).map((part) => element("p", { textContent: part })));
  $("evidence").textContent = `${state.oracle}: ${item.evidence}`;
  $("evidence").hidden = !item.evidence;
  $("note").value = item.note;
  $("undo").disabled = item.given === null;
  const scores = item.given || item.scores || {};
  for (const input of inputs()) input.value = shown(scores[input.name]);
  for (const input of inputs()) draw(input);
  progress();
  scrollTo(0, 0);
  const first = inputs()[0];
  first.focus({ preventScroll: true });
  first.select();
}

async function go(to) {
  const next = Math.min(state.count - 1, Math.max(0, to));
  const found = await call(`api/item/${next}`);
  place = next;
  show(found);
  if ($("agreement").hidden === false) await agreement();
}

function read() {
  const scores = {};
  for (const input of inputs()) {
    const text = input.value.trim().replace(",", ".");
    // What the oracle gave to more digits than are shown is accepted as it gave it.
    const oracle = item.scores ? item.scores[input.name] : undefined;
    if (oracle !== undefined && text === shown(oracle)) { scores[input.name] = oracle; continue; }
    const value = text === "" ? null : Number(text);
    if (value === null || !(value >= state.scale[0] && value <= state.scale[1])) {
      input.focus();
      input.select();
      throw new Error(`${input.name}: expected a number from ${state.scale[0]} to ${state.scale[1]}`);
    }
    scores[input.name] = value;
  }
  return scores;
}

async function save() {
  const done = await call("api/judge", { id: item.id, scores: read(), note: $("note").value });
  Object.assign(state, done.counts);
  if (place + 1 < state.count) await go(place + 1);
  else { show(done.item); fault("That was the last article."); }
}

async function undo() {
  if (item.given === null) return;
  const done = await call("api/retract", { id: item.id });
  Object.assign(state, done.counts);
  show(done.item);
}

async function agreement() {
  const { pairs } = await call("api/agreement");
  const number = (value) => (value === null ? "-" : value.toFixed(2));
  $("pairs").replaceChildren(...(pairs.length ? pairs.map((pair) => {
    const rows = [...pair.dimensions, pair.overall].map((one) => element("tr", {},
      element("td", { textContent: one.dimension }), element("td", { textContent: number(one.difference) }),
      element("td", { textContent: number(one.bias) })));
    const head = element("tr", {}, ...["", "mean difference", "bias"].map((text) => element("th", { textContent: text })));
    const tiers = pair.tiers ? `, the same tier in ${Math.round(100 * pair.tiers.same)}%` : "";
    return element("div", {}, element("p", { textContent:
      `${state.reviewer} and ${pair.second}: ${pair.rows} articles${tiers}. Bias above 0: ${state.reviewer} scores higher.` }),
      element("table", {}, head, ...rows));
  }) : [element("p", { textContent: "No article has been reviewed yet." })]));
}

async function toggle() {
  if ($("agreement").hidden) {
    await agreement();
    $("agreement").hidden = false;
    $("agreement").scrollIntoView();
  } else $("agreement").hidden = true;
}

const letters = {
  u: () => act(undo), b: () => act(() => go(place - 1)), s: () => act(() => go(place + 1)), a: () => act(toggle),
  n: () => $("note").focus(),
  o: (input) => { if (input && item.scores) set(input, item.scores[input.name]); },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !item) return;
  // What is typed before the next article is there would be meant for none.
  if (busy) { event.preventDefault(); return; }
  const at = document.activeElement, all = inputs(), row = all.indexOf(at);
  if (at === $("note")) {
    if (event.key === "Escape") all[0].focus();
    else if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); act(save); }
    return;
  }
  if (event.key === "Enter" && at.tagName !== "BUTTON" && at.tagName !== "A") {
    event.preventDefault();
    if (!event.repeat) act(save);
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    const next = all[(row + (event.key === "ArrowDown" ? 1 : all.length - 1)) % all.length] || all[0];
    next.focus();
    next.select();
  } else if (row >= 0 && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
    event.preventDefault();
    const now = at.value === "" ? (state.scale[0] + state.scale[1]) / 2 : Number(at.value) || 0;
    set(at, now + (event.key === "ArrowRight" ? 0.5 : -0.5));
    at.select();
  } else if (Object.hasOwn(letters, event.key)) {
    event.preventDefault();
    letters[event.key](row >= 0 ? at : null);
  }
});

$("scores").addEventListener("submit", (event) => { event.preventDefault(); act(save); });
$("undo").addEventListener("click", () => act(undo));
$("back").addEventListener("click", () => act(() => go(place - 1)));
$("skip").addEventListener("click", () => act(() => go(place + 1)));

act(async () => {
  state = await call("api/state");
  $("who").textContent = `${state.filter} · ${state.reviewer} reviews ${state.oracle}`;
  $("dimensions").replaceChildren(...state.dimensions.map(dimension));
  await go(state.next);
});

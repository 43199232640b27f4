// Apply other tier thresholds to stored overall scores as the sliders move.
function tier(cuts, overall) {
  return cuts.findIndex((cut) => cut.least === null || (cut.above ? overall > cut.least : overall >= cut.least));
}

function counted(oracle, student, before, after, moveBoth) {
  const tally = after.map(() => ({ oracle: 0, student: 0, both: 0 }));
  let same = 0, moved = 0, wanted = 0, named = 0, found = 0;
  oracle.forEach((value, i) => {
    const theirs = tier(moveBoth ? after : before, value), ours = tier(after, student[i]);
    tally[theirs].oracle++;
    tally[ours].student++;
    if (theirs === ours) { tally[ours].both++; same++; }
    if (tier(before, student[i]) !== ours) moved++;
    wanted += after[theirs].positive;
    named += after[ours].positive;
    found += after[theirs].positive && after[ours].positive;
  });
  return { tally, same, moved, wanted, named, found };
}

for (const form of document.querySelectorAll("form.whatif")) {
  const { low, high, tiers, oracle, student } = JSON.parse(form.dataset.rows);
  const made = (tag, words = "", more = {}) => Object.assign(document.createElement(tag), { textContent: words }, more);
  const controls = made("div"), results = made("div"), sliders = [];
  tiers.forEach((one, i) => {
    if (one.least === null) return sliders.push(null);
    // An output can be labelled too, so the label must name the slider.
    const id = `whatif-${i}`, label = made("label", `${one.name} from `, { htmlFor: id }), shown = made("output");
    const slider = made("input", "", { id, type: "range", min: low, max: high, step: (high - low) / 200, value: one.least });
    slider.defaultValue = one.least;
    label.append(shown, slider);
    controls.append(label);
    sliders.push({ slider, shown });
  });
  const only = made("input", "", { type: "checkbox" }), choice = made("label");
  choice.append(only, " change the thresholds for the student only; the oracle's tiers keep those of the filter");
  controls.append(choice, made("button", "Reset to the filter's thresholds", { type: "reset" }));
  const table = made("table"), body = made("tbody"), told = made("p");
  const head = made("tr");
  ["Tier", "Oracle", "Student", "Both"].forEach((name) => head.append(made("th", name, { scope: "col" })));
  table.append(made("caption", "Articles by tier"), made("thead"), body);
  table.querySelector("thead").append(head);
  told.setAttribute("role", "status");
  results.append(table, told);
  form.append(controls, results);
  const share = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)}% (${part} of ${whole})` : "unknown");
  const update = () => {
    // A slider that was not moved has the filter's exact threshold, which may lie between two steps.
    const cuts = tiers.map((one, i) => {
      const at = sliders[i]?.slider;
      return { ...one, least: at ? (at.value === at.dataset.start ? one.least : Number(at.value)) : null };
    });
    cuts.forEach((cut, i) => sliders[i] && (sliders[i].shown.textContent = String(Number(cut.least.toFixed(3)))));
    const now = counted(oracle, student, tiers, cuts, !only.checked);
    body.replaceChildren(...now.tally.map((row, i) => {
      const line = made("tr");
      line.append(made("th", tiers[i].name, { scope: "row" }));
      [row.oracle, row.student, row.both].forEach((value) => line.append(made("td", value.toLocaleString("en"))));
      return line;
    }));
    told.textContent = `Agreement: ${share(now.same, oracle.length)}. Recall of positive tiers: ` +
      `${share(now.found, now.wanted)}. Precision: ${share(now.found, now.named)}. ` +
      `${now.moved.toLocaleString("en")} articles change their tier.`;
  };
  sliders.forEach((one) => one && (one.slider.dataset.start = one.slider.value));
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  update();
  form.hidden = false;
}

// Draw each plot in its place, and show the source of a clicked figure.
for (const spec of document.querySelectorAll("script.spec")) {
  const place = document.getElementById(spec.dataset.for);
  // The colours are CSS variables of the page, which only SVG can use.
  // With ast, Vega's expressions are interpreted; compiling them would need a policy that allows eval.
  const options = { ast: true, renderer: "svg", actions: false, tooltip: { theme: "custom" } };
  window.vegaEmbed(place, JSON.parse(spec.textContent), options);
}
const trace = document.getElementById("trace");
document.addEventListener("click", (event) => {
  const figure = event.target.closest("data");
  trace.hidden = figure === null;
  trace.textContent = figure === null ? "" : `${figure.dataset.file} ${figure.dataset.field} = ${figure.value} · sha256 ${figure.dataset.sha}`;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") trace.hidden = true;
});
// Plots have the width of the window; when printed, they are resized to the page.
for (const moment of ["beforeprint", "afterprint"]) {
  window.addEventListener(moment, () => window.dispatchEvent(new Event("resize")));
}

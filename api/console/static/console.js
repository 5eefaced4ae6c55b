// What neither the server nor htmx can do: the choice of light or dark, files that are dropped, curves.
"use strict";

(() => {
  const root = document.documentElement;
  const kept = localStorage.getItem("lucid-theme");
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;

  const switchTheme = () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("lucid-theme", root.dataset.theme);
  };

  // Files dropped on a form become those of its field; how much of them is sent is shown while it is.
  const takeDrops = (form) => {
    const field = form.querySelector("input[type=file]");
    const bar = form.querySelector("progress");
    for (const kind of ["dragenter", "dragover"])
      form.addEventListener(kind, (event) => { event.preventDefault(); form.classList.add("over"); });
    for (const kind of ["dragleave", "drop"])
      form.addEventListener(kind, () => form.classList.remove("over"));
    form.addEventListener("drop", (event) => {
      event.preventDefault();
      field.files = event.dataTransfer.files;
    });
    form.addEventListener("htmx:xhr:progress", (event) => {
      if (event.detail.lengthComputable) bar.value = (100 * event.detail.loaded) / event.detail.total;
    });
  };

  // A table of numbers whose first column is the horizontal axis, as a picture above it.
  const draw = (table) => {
    const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    const rows = [...table.tBodies[0].rows].map((row) =>
      [...row.cells].map((cell) => (cell.textContent.trim() ? Number(cell.dataset.value ?? cell.textContent) : null)));
    const columns = heads.map((_, column) => rows.map((row) => row[column]));
    const style = getComputedStyle(root);
    const text = style.getPropertyValue("--pico-color").trim();
    const colours = ["--ring", "--note", "--good", "--bad"].map((name) => style.getPropertyValue(name).trim());
    const place = document.createElement("div");
    place.className = "chart";
    place.setAttribute("aria-hidden", "true"); // the table says the same
    const box = table.closest(".wide") ?? table;
    box.before(place);
    const grid = { stroke: style.getPropertyValue("--pico-muted-border-color").trim() };
    new uPlot({
      width: Math.min(place.clientWidth, 640), height: 260,
      legend: { live: false },
      scales: { x: { time: false } },
      axes: [{ label: heads[0], stroke: text, grid }, { stroke: text, grid }],
      series: [{ label: heads[0] }, ...heads.slice(1).map((label, number) => ({
        label, stroke: colours[number % colours.length], width: 2, dash: number ? [6, 4] : undefined, points: { show: true },
      }))],
    }, columns, place);
  };

  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme")?.addEventListener("click", switchTheme);
    document.querySelectorAll("form.drop").forEach(takeDrops);
    document.querySelectorAll("table[data-chart]").forEach(draw);
  });
})();

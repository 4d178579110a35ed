// Sorting, filtering, plots, downloads. Text of results enters the page as text, never as HTML.
"use strict";
(() => {
  document.documentElement.classList.add("js");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const embedded = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "{}");

  // --- leaderboard -----------------------------------------------------------------------------

  const body = document.querySelector("#board tbody");
  const rows = all("tr", body).map((row, place) => ({
    row, place, text: row.textContent.toLowerCase(),
  }));
  const headers = all("#board thead th");
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  /** What a cell is sorted by: its number, else its text; null where it has neither. */
  function keyOf(row, column) {
    const cell = row.cells[column];
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    const text = cell.textContent.trim();
    return headers[column].classList.contains("num") || text === "\u2013" ? null : text;
  }

  /** Sort by a column; what has no value is last in both directions, equal rows keep their order. */
  function sortBy(column, direction) {
    const keyed = rows.map((item) => ({ ...item, key: keyOf(item.row, column) }));
    keyed.sort((a, b) => {
      if (direction === "none") return a.place - b.place;
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
      const order = typeof a.key === "number" ? a.key - b.key : collator.compare(a.key, b.key);
      return (direction === "ascending" ? order : -order) || a.place - b.place;
    });
    body.append(...keyed.map((item) => item.row));
    headers.forEach((header, index) => {
      header.setAttribute("aria-sort", index === column ? direction : "none");
    });
  }

  // Numbers are most wanted from the largest, text from A; a third press restores the order.
  headers.forEach((header, column) => {
    const cycle = header.classList.contains("num")
      ? { none: "descending", descending: "ascending", ascending: "none" }
      : { none: "ascending", ascending: "descending", descending: "none" };
    header.querySelector("button").addEventListener("click", () => {
      sortBy(column, cycle[header.getAttribute("aria-sort")]);
    });
  });

  const filters = document.getElementById("filters");
  const search = document.getElementById("filter-text");

  function filter() {
    const wanted = all("[data-filter]", filters).filter((choice) => choice.value !== "");
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, text } of rows) {
      const fits = wanted.every((choice) => row.dataset[choice.dataset.filter] === choice.value)
        && words.every((word) => text.includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    document.getElementById("count").textContent = `${shown} of ${rows.length} rows shown`;
  }

  filters.addEventListener("input", filter);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(filter)); // after the fields are empty

  // --- downloads -------------------------------------------------------------------------------

  const files = embedded("downloads");
  for (const button of all("[data-download]")) {
    button.addEventListener("click", () => {
      const name = button.dataset.download;
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([files[name]], { type: "text/plain" }));
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }

  // --- plots -----------------------------------------------------------------------------------

  const charts = embedded("charts");
  const drawn = new Set();

  /** A copy in which every ``var(--name)`` is the value that the theme gives it. */
  function themed(value, style) {
    if (typeof value === "string") {
      const name = /^var\((--[a-z0-9]+)\)$/.exec(value)?.[1];
      return name ? style.getPropertyValue(name).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => themed(item, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v, style)]));
  }

  function draw(plot) {
    const style = getComputedStyle(document.documentElement);
    const { data, layout } = themed(charts[plot.id], style);
    const ink = style.getPropertyValue("--ink").trim();
    const line = style.getPropertyValue("--line").trim();
    const axis = {
      gridcolor: line, linecolor: line, zeroline: false, automargin: true, fixedrange: true,
    };
    const whole = {
      ...layout,
      xaxis: { ...axis, ...layout.xaxis },
      yaxis: { ...axis, ...layout.yaxis },
      autosize: true,
      dragmode: false,
      hovermode: "closest",
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, size: 13, family: getComputedStyle(document.body).fontFamily },
      margin: { l: 48, r: 12, t: 12, b: 48 },
      legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0, itemwidth: 30 },
    };
    Plotly.react(plot, data, whole, { displayModeBar: false, responsive: true });
    drawn.add(plot);
  }

  const plots = all(".chart");
  const seen = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting && !drawn.has(entry.target))
      .forEach((entry) => draw(entry.target)),
    { rootMargin: "600px" },
  );
  plots.forEach((plot) => seen.observe(plot));

  const redraw = () => drawn.forEach((plot) => { if (plot.offsetParent) draw(plot); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("paper");
    plots.filter((plot) => plot.offsetParent).forEach(draw);
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("paper");
    redraw();
  });

  // One panel of a part is shown at a time; without this script all of them are.
  for (const choice of all("[data-chooses]")) {
    const panels = [...document.getElementById(choice.dataset.chooses).children];
    const show = () => {
      panels.forEach((panel, index) => { panel.hidden = index !== Number(choice.value); });
      all(".chart", panels[choice.value]).filter((plot) => drawn.has(plot)).forEach(draw);
    };
    choice.addEventListener("change", show);
    show();
  }

  // --- provenance ------------------------------------------------------------------------------

  function openTarget() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) {
      target.open = true;
      target.querySelector("summary").focus({ preventScroll: true });
      target.scrollIntoView();
    }
  }
  addEventListener("hashchange", openTarget);
  openTarget();
})();

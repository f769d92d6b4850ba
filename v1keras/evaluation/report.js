"use strict";
(() => {
  const root = document.documentElement;
  const button = document.querySelector("button.theme");
  const name = () => {
    button.textContent = root.dataset.theme === "dark" ? "Light" : "Dark";
  };
  button.addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    name();
  });
  name();

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const label = document.createElement("button");
      label.type = "button";
      label.append(...head.childNodes);
      head.append(label);
      label.addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") !== "descending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const key = (row) => row.cells[column].dataset.value ?? "";
        const order = (a, b) => {
          const [x, y] = [Number(key(a)), Number(key(b))];
          return Number.isNaN(x - y) ? key(a).localeCompare(key(b)) : x - y;
        };
        const body = table.tBodies[0];
        const rows = [...body.rows].sort((a, b) => (descending ? order(b, a) : order(a, b)));
        body.append(...rows);
      });
    });
  }
})();

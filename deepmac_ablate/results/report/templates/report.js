"use strict";

// Tables are sorted by the buttons in their heads: numbers largest first, names from A on; a second
// press turns the order. Rows without a number stay at the end.
function sortBy(table, head) {
  const column = Number(head.dataset.column);
  const numeric = head.dataset.kind === "number";
  const before = head.getAttribute("aria-sort");
  const first = numeric ? "descending" : "ascending";
  const second = numeric ? "ascending" : "descending";
  const order = before === first ? second : first;
  const sign = order === "ascending" ? 1 : -1;

  function compare(one, other) {
    const [a, b] = [one, other].map((row) => row.cells[column].dataset.key);
    if (a === "" || b === "") {
      return (a === "") - (b === "");
    }
    return sign * (numeric ? a - b : a.localeCompare(b));
  }

  for (const other of table.querySelectorAll("th[aria-sort]")) {
    other.removeAttribute("aria-sort");
  }
  head.setAttribute("aria-sort", order);
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compare));
}

for (const button of document.querySelectorAll("table.sortable thead button")) {
  button.addEventListener("click", () => sortBy(button.closest("table"), button.closest("th")));
}

// On paper nothing can be opened.
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) {
    details.open = true;
  }
});

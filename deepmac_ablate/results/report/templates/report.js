"use strict";

// Sorts a table by the button in a column header: numbers descending, names ascending, and a second
// click reverses the order. Rows without a number stay last.
function sortBy(table, header) {
  const column = Number(header.dataset.column);
  const numeric = header.dataset.kind === "number";
  const before = header.getAttribute("aria-sort");
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
  header.setAttribute("aria-sort", order);
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compare));
}

for (const button of document.querySelectorAll("table.sortable thead button")) {
  button.addEventListener("click", () => sortBy(button.closest("table"), button.closest("th")));
}

// Nothing can be unfolded on paper.
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) {
    details.open = true;
  }
});

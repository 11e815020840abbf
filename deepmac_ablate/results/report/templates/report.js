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

// Shows the objects of some classes only: those whose data-role or data-name is the chosen one.
function filterObjects(choice) {
  const [kind, ...rest] = choice.split(" ");
  for (const group of document.querySelectorAll(".group")) {
    for (const object of group.querySelectorAll(".object")) {
      object.hidden = choice !== "" && object.dataset[kind] !== rest.join(" ");
    }
    group.hidden = choice !== "" && !group.querySelector(".object:not([hidden])");
  }
}

const filter = document.querySelector("#filter");
if (filter) {
  filter.hidden = false;
  filter.addEventListener("change", (event) => filterObjects(event.target.value));
}

// Enlarges a picture or a figure by a click or the Enter key. A click or the Escape key closes it,
// and the arrow keys lead to its neighbours.
const dialog = document.querySelector("dialog");
const pictures = [...document.querySelectorAll(".cells img, .picture svg")];
let enlarged = null;

function enlarge(picture) {
  enlarged = picture;
  const caption = document.createElement("p");
  caption.textContent = picture.closest("figure").querySelector("figcaption").textContent;
  const copy = picture.cloneNode(true);
  // The dialog itself has the focus.
  copy.removeAttribute("tabindex");
  dialog.replaceChildren(copy, caption);
  if (!dialog.open) {
    dialog.showModal();
  }
}

for (const picture of pictures) {
  picture.tabIndex = 0;
  picture.addEventListener("click", () => enlarge(picture));
  picture.addEventListener("keydown", (event) => event.key === "Enter" && enlarge(picture));
}
dialog.addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  dialog.replaceChildren();
  enlarged.focus();
});
dialog.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const visible = pictures.filter((picture) => picture.getClientRects().length > 0);
  const next = step && visible[visible.indexOf(enlarged) + step];
  if (next) {
    enlarge(next);
  }
});

// Nothing can be unfolded on paper.
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) {
    details.open = true;
  }
});

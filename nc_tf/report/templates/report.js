// Sorts the table by the pressed heading, first upwards, then downwards. Rows without a number stay at the end either way.
"use strict";
const table = document.getElementById("table");
const body = table.tBodies[0];
const said = document.getElementById("sorted");
const headings = [...table.tHead.rows[0].cells];
const rank = new Map([...body.rows].map((row, position) => [row, position]));

function compare(one, other, numeric) {
  if (one === "" || other === "") return null;
  return numeric ? Number(one) - Number(other) : one.localeCompare(other, undefined, { numeric: true });
}

function sort(column, ascending) {
  const numeric = headings[column].dataset.kind === "number";
  const value = (row) => row.cells[column].dataset.value;
  const rows = [...body.rows].sort((a, b) => {
    const order = compare(value(a), value(b), numeric);
    if (order === null) return (value(a) === "") - (value(b) === "") || rank.get(a) - rank.get(b);
    return (ascending ? order : -order) || rank.get(a) - rank.get(b);
  });
  body.append(...rows);
  headings.forEach((heading) => heading.removeAttribute("aria-sort"));
  headings[column].setAttribute("aria-sort", ascending ? "ascending" : "descending");
  said.textContent = `sorted by ${headings[column].querySelector("span").textContent}, ${ascending ? "ascending" : "descending"}`;
}

// The buttons are made here: without a script there is nothing to press.
headings.forEach((heading, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  heading.append(button);
  button.addEventListener("click", () => sort(column, heading.getAttribute("aria-sort") !== "ascending"));
});

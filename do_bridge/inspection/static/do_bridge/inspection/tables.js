// The list of tables: shows those whose names contain what is typed, and "/" goes to the filter.
"use strict";

const filter = document.getElementById("table-filter");
if (filter) {
  const list = filter.closest(".shell-tables");
  const folded = list.querySelector("details");
  const wasOpen = folded?.open;
  const show = () => {
    const wanted = filter.value.trim().toLowerCase();
    for (const line of list.querySelectorAll("[data-table]")) line.hidden = !line.dataset.table.includes(wanted);
    if (folded) folded.open = wanted !== "" || wasOpen;
  };
  filter.addEventListener("input", show);
  filter.form.addEventListener("submit", (event) => {
    const first = list.querySelector("[data-table]:not([hidden]) a");
    if (!first || !filter.value.trim()) return;
    event.preventDefault();
    location.assign(first.href);
  });
  document.addEventListener("keydown", (event) => {
    const inField = event.composedPath()[0].closest?.("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || inField || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    filter.focus();
  });
  if (filter.value) show();
}

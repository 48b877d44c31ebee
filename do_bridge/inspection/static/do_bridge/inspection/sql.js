// The SQL page: puts saved and earlier statements into the editor, and the editor's text into the other forms.
"use strict";

const area = document.getElementById("sql");

for (const link of document.querySelectorAll("a[data-fill]")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    area.value = link.dataset.fill;
    area.dispatchEvent(new Event("fill"));
  });
}

document.querySelector("form.save").addEventListener("submit", (event) => {
  event.target.elements.sql.value = area.value;
});

document.getElementById("sql-form").addEventListener("submit", (event) => {
  const { submitter } = event;
  // The button's name has been read by the time that it is disabled.
  setTimeout(() => {
    document.getElementById("result-title").textContent = "Running …";
    if (submitter) submitter.disabled = true;
  });
});
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

// Cells of a table of rows: arrows move between them, Enter or a click opens the whole value in a side panel.
"use strict";

function element(tag, options = {}, ...children) {
  const made = Object.assign(document.createElement(tag), options);
  made.append(...children);
  return made;
}

class Panel {
  constructor() {
    this.title = element("h2", { id: "cell-title" });
    this.about = element("p", { className: "quiet" });
    this.value = element("pre", { className: "whole", tabIndex: 0 });
    this.value.setAttribute("aria-label", "Value");
    this.value.setAttribute("role", "region");
    this.copy = element("button", { type: "button", className: "button", textContent: "Copy" });
    this.open = element("a", { className: "button", textContent: "Open row" });
    this.edit = element("a", { className: "button", textContent: "Edit" });
    const close = element("button", { type: "button", className: "close", textContent: "✕" });
    close.setAttribute("aria-label", "Close");
    this.said = element("span", { className: "quiet" });
    this.said.setAttribute("role", "status");
    this.dialog = element("dialog", { id: "cell" }, element("header", {}, this.title, close), this.about,
      this.value, element("footer", {}, this.copy, this.open, this.edit, this.said));
    this.dialog.setAttribute("aria-labelledby", "cell-title");
    document.body.append(this.dialog);
    close.addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("close", () => this.cell?.focus());
    this.copy.addEventListener("click", () => this.copyText());
  }

  async copyText() {
    try {
      await navigator.clipboard.writeText(this.text);
    } catch {
      getSelection().selectAllChildren(this.value);
      this.said.textContent = "Press Ctrl-C.";
      return;
    }
    this.said.textContent = "Copied.";
  }

  put({ kind, text, length, is_cut: isCut, type = "" }) {
    this.text = kind === "null" ? "" : text;
    this.value.textContent = kind === "null" ? "NULL" : text;
    this.value.classList.toggle("null", kind === "null");
    const unit = { text: "characters", blob: "bytes" }[kind];
    const size = unit && length !== undefined ? `, ${new Intl.NumberFormat("en").format(length)} ${unit}` : "";
    this.about.textContent = `${type || kind}${size}${isCut ? ", cut" : ""}`;
  }

  async show(cell, column) {
    const row = cell.parentNode;
    this.cell = cell;
    this.title.textContent = column;
    this.said.textContent = "";
    this.open.hidden = !row.dataset.row;
    this.edit.hidden = !("edit" in row.dataset);
    if (row.dataset.row) {
      this.open.href = row.dataset.row;
      this.edit.href = `${row.dataset.row}edit/`;
    }
    const number = cell.classList.contains("number");
    this.put({ kind: cell.querySelector(".null") ? "null" : cell.dataset.kind ?? (number ? "number" : "text"),
      text: cell.dataset.whole ?? cell.textContent.trim() });
    if (!this.dialog.open) this.dialog.showModal();
    if (!row.dataset.row || !cell.dataset.column) return;
    this.about.textContent = "…";
    try {
      const answer = await fetch(`${row.dataset.row}value.json?c=${encodeURIComponent(cell.dataset.column)}`);
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      if (this.cell === cell) this.put(await answer.json());
    } catch {
      this.about.textContent = "The whole value could not be loaded. This is its beginning.";
    }
  }
}

function watch(table) {
  const cells = [...table.querySelectorAll("tbody tr")].map((row) => [...row.cells].filter((cell) => !cell.classList.contains("open") && cell.colSpan === 1));
  const names = [...table.querySelectorAll("thead th:not(.open)")].map((head) => (head.querySelector("a") ?? head).textContent.replace(/ [▲▼]$/, ""));
  if (!cells.length || !cells[0].length) return;
  table.setAttribute("role", "grid");
  table.setAttribute("aria-label", table.closest("[aria-label]").getAttribute("aria-label"));
  let panel;
  let current = cells[0][0];
  current.tabIndex = 0;
  const where = (cell) => {
    const y = cells.findIndex((row) => row.includes(cell));
    return y < 0 ? null : [y, cells[y].indexOf(cell)];
  };
  const go = (cell) => {
    current.tabIndex = -1;
    current = cell;
    current.tabIndex = 0;
    current.focus();
  };
  const show = (cell) => (panel ??= new Panel()).show(cell, names[where(cell)[1]]);
  table.addEventListener("click", (event) => {
    const cell = event.target.closest("td");
    if (!cell || event.target.closest("a") || !where(cell) || String(getSelection())) return;
    go(cell);
    show(cell);
  });
  table.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td");
    const at = cell && event.target === cell && where(cell);
    if (!at) return;
    const [y, x] = at;
    const next = { ArrowDown: cells[y + 1]?.[x], ArrowUp: cells[y - 1]?.[x], ArrowRight: cells[y][x + 1],
      ArrowLeft: cells[y][x - 1], Home: cells[y][0], End: cells[y].at(-1) }[event.key];
    if (event.key === "Enter" || event.key === " ") show(cell);
    else if (next) go(next);
    else return;
    event.preventDefault();
  });
}

for (const table of document.querySelectorAll("table[data-cells]")) watch(table);

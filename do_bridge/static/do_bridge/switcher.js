// The switcher: Ctrl-K or a click on the database's name opens a search over all databases.
"use strict";

const chip = document.querySelector("a#database-chip");

function build() {
  const dialog = document.createElement("dialog");
  dialog.id = "switcher";
  dialog.setAttribute("aria-label", "Switch database");
  const input = document.createElement("input");
  Object.assign(input, { type: "search", autocomplete: "off", placeholder: "Search databases by slug or name", maxLength: 63 });
  for (const [name, value] of Object.entries({
    "aria-label": "Search databases", role: "combobox", "aria-expanded": "true", "aria-controls": "switcher-list",
    "aria-autocomplete": "list",
  })) input.setAttribute(name, value);
  const list = document.createElement("ul");
  list.id = "switcher-list";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Databases");
  const said = document.createElement("p");
  said.setAttribute("role", "status");
  dialog.append(input, list, said);
  document.body.append(dialog);
  return { dialog, input, list, said };
}

function option(item, number) {
  const line = document.createElement("li");
  line.id = `switcher-${number}`;
  line.dataset.url = item.url;
  line.setAttribute("role", "option");
  const add = (tag, className, text) => {
    const part = document.createElement(tag);
    part.className = className;
    part.textContent = text;
    line.append(part);
  };
  add("span", `switch-dot ${item.slug ? "tenant" : "d1"}`, "");
  add("b", "", item.slug || item.label);
  if (item.name && item.name !== item.slug) add("span", "quiet", item.name);
  if (item.is_current) add("span", "recent", "here");
  else if (item.is_recent) add("span", "recent", "recent");
  return line;
}

class Switcher {
  constructor() {
    Object.assign(this, build());
    this.at = 0;
    this.latest = 0;
    let waiting;
    this.input.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.ask(), 120);
    });
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("click", (event) => this.go(event.target.closest("li")));
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
  }

  open() {
    if (this.dialog.open) return;
    this.input.value = "";
    this.dialog.showModal();
    this.ask();
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) this.choose(this.at + step);
    else if (event.key === "Enter") this.go(this.list.children[this.at]);
    else return;
    event.preventDefault();
  }

  choose(number) {
    const lines = [...this.list.children];
    this.at = lines.length ? (number + lines.length) % lines.length : 0;
    lines.forEach((line, index) => line.setAttribute("aria-selected", String(index === this.at)));
    const line = lines[this.at];
    line?.scrollIntoView({ block: "nearest" });
    if (line) this.input.setAttribute("aria-activedescendant", line.id);
    else this.input.removeAttribute("aria-activedescendant");
  }

  go(line) {
    if (line) location.assign(line.dataset.url);
  }

  async ask() {
    const turn = ++this.latest;
    const query = new URLSearchParams({ q: this.input.value.trim(), from: chip.dataset.from });
    try {
      const answer = await fetch(`${chip.dataset.search}?${query}`);
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const { databases } = await answer.json();
      if (turn !== this.latest) return;
      this.list.replaceChildren(...databases.map(option));
      this.said.textContent = databases.length ? "↑ ↓ to choose, Enter to open, Esc to close" : "No database matches.";
      this.choose(0);
    } catch {
      this.said.textContent = "The list could not be loaded. Try again.";
    }
  }
}

if (chip) {
  let switcher;
  const open = (event) => {
    event.preventDefault();
    (switcher ??= new Switcher()).open();
  };
  chip.addEventListener("click", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) open(event);
  });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") open(event);
  });
}

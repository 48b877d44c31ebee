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

function start() {
  const { dialog, input, list, said } = build();
  let at = 0, latest = 0, waiting;

  const choose = (number) => {
    const lines = [...list.children];
    at = lines.length ? (number + lines.length) % lines.length : 0;
    lines.forEach((line, index) => line.setAttribute("aria-selected", String(index === at)));
    lines[at]?.scrollIntoView({ block: "nearest" });
    if (lines[at]) input.setAttribute("aria-activedescendant", lines[at].id);
    else input.removeAttribute("aria-activedescendant");
  };
  const go = (line) => line && location.assign(line.dataset.url);
  const ask = async () => {
    const turn = ++latest;
    const query = new URLSearchParams({ q: input.value.trim(), from: chip.dataset.from });
    const answer = await fetch(`${chip.dataset.search}?${query}`);
    if (!answer.ok || turn !== latest) return;
    const { databases } = await answer.json();
    list.replaceChildren(...databases.map(option));
    said.textContent = databases.length ? "↑ ↓ to choose, Enter to open, Esc to close" : "No database matches.";
    choose(0);
  };
  const open = () => {
    if (dialog.open) return;
    input.value = "";
    dialog.showModal();
    ask().catch(() => { said.textContent = "The list could not be loaded."; });
  };

  input.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => ask().catch(() => {}), 120);
  });
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) choose(at + step);
    else if (event.key === "Enter") go(list.children[at]);
    else return;
    event.preventDefault();
  });
  list.addEventListener("click", (event) => go(event.target.closest("li")));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  chip.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open();
  });
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "k") return;
    event.preventDefault();
    open();
  });
}

if (chip) start();

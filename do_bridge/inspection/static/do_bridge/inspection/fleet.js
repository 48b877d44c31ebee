// The list of databases: loads the facts of each, a few at a time, so that a slow one delays no other.
"use strict";

const AT_ONCE = 4;
const PATIENCE = 8000; // milliseconds, longer than the server gives a database

const rows = [...document.querySelectorAll("tr[data-facts]")];
const number = new Intl.NumberFormat();

function size(bytes) {
  if (bytes === null) return "–";
  if (bytes < 1024 * 1024) return `${number.format(Math.ceil(bytes / 1024))} KB`;
  return `${number.format(Math.round(bytes / 1024 / 102.4) / 10)} MB`;
}

function moment(text) {
  // As the server writes it: 2026-11-29 08:02.
  return new Date(text).toLocaleString("sv-SE", { dateStyle: "short", timeStyle: "short" });
}

function show(row, facts) {
  const put = (name, text) => {
    row.querySelector(`[data-fact="${name}"]`).textContent = text;
  };
  const state = row.querySelector('[data-fact="state"]');
  state.className = `state ${facts.state}`;
  put("state", facts.text);
  row.querySelector("[data-silent]")?.remove();
  // A database that does not answer keeps the numbers of its last look.
  const show = (name, value, text) => {
    const isUnknown = row.querySelector(`[data-fact="${name}"]`).textContent === "…";
    if (value !== null || isUnknown) put(name, value === null ? "–" : text);
  };
  show("rows", facts.rows, number.format(facts.rows ?? 0) + (facts.is_more ? "+" : ""));
  show("size", facts.size, size(facts.size));
  show("activity", facts.activity, facts.activity && moment(facts.activity));
  put("ms", `${number.format(facts.ms)} ms`);
}

const DEAD = { state: "dead", text: "no answer", rows: null, size: null, activity: null };

async function ask(row) {
  const start = performance.now();
  try {
    const answer = await fetch(row.dataset.facts, { signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(row, await answer.json());
  } catch {
    show(row, { ...DEAD, ms: Math.round(performance.now() - start) });
  }
}

async function work(waiting) {
  for (let row = waiting.shift(); row; row = waiting.shift()) await ask(row);
}

async function askAll() {
  const waiting = [...rows];
  await Promise.all(Array.from({ length: AT_ONCE }, () => work(waiting)));
  const silent = rows.filter((row) => row.querySelector('[data-fact="state"]:is(.dead, .slow)')).length;
  const told = document.getElementById("facts-told");
  told.textContent = `${rows.length} databases read, ${silent} without an answer.`;
}

const all = document.getElementById("choose-all");
if (all) {
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of document.querySelectorAll('input[name="database"]')) box.checked = all.checked;
  });
}

const scope = document.getElementById("scope-all");
if (scope) {
  scope.addEventListener("change", () => {
    for (const box of document.querySelectorAll('input[name="database"], #choose-all')) {
      box.checked = scope.checked;
      box.disabled = scope.checked;
    }
  });
}

askAll();

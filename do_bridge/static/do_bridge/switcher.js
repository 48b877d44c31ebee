// The switcher: offers tenants as one types, beyond those that came with the page.
"use strict";

const input = document.getElementById("database-tenant");
const offered = document.getElementById("database-tenants");

if (input && offered) {
  let asked = "";
  let waiting;
  const offer = async () => {
    const query = input.value.trim().toLowerCase();
    if (query === asked || query === "") return;
    asked = query;
    const answer = await fetch(`${input.dataset.search}?q=${encodeURIComponent(query)}`);
    if (!answer.ok || asked !== query) return;
    const { tenants } = await answer.json();
    offered.replaceChildren(...tenants.map((slug) => Object.assign(document.createElement("option"), { value: slug })));
  };
  input.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => offer().catch(() => {}), 200);
  });
}

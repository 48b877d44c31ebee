// A job's page: follows the work without a reload, and reloads once at its end to show what failed.
"use strict";

const job = document.querySelector(".job[data-state]");
const PAUSE = 1000; // milliseconds between two looks
const LONGEST_PAUSE = 15000;

function put(name, text) {
  job.querySelector(`[data-job="${name}"]`).textContent = text;
}

async function follow(pause) {
  let next = PAUSE;
  try {
    const answer = await fetch(job.dataset.state, { signal: AbortSignal.timeout(LONGEST_PAUSE) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const state = await answer.json();
    const bar = document.getElementById("job-bar");
    bar.value = state.done;
    put("text", state.text);
    put("hint", state.hint);
    if (state.state !== "running") {
      document.getElementById("job-told").textContent = `${state.text} ${state.hint}`;
      location.reload();
      return;
    }
  } catch {
    put("hint", "The site does not answer. The page tries again.");
    next = Math.min(pause * 2, LONGEST_PAUSE);
  }
  setTimeout(() => follow(next), next);
}

if (job && job.dataset.state) follow(PAUSE);

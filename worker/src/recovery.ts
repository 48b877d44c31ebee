// Point-in-time recovery: bookmarks of an object's history, and the way back to one.
// https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/#pitr-point-in-time-recovery-api

import { objectFailure } from "./errors";
import type { Answer, Failure } from "./protocol";

/** Hands the bookmark that undoes a restore to the caller, before the object restarts. */
export type Tell = (undo: string) => Promise<void>;

/** A part of the error of a runtime that keeps no history, such as the local one. */
const NO_HISTORY = "does not implement point-in-time recovery";

/** The platform's limit. */
const KEPT_MS = 30 * 24 * 60 * 60 * 1000;

/** How long the object waits until its caller has the bookmark. */
const TELL_MS = 5000;

/** The bookmark of now, or of a moment in milliseconds since 1970. */
export async function bookmark(storage: DurableObjectStorage, at: number | undefined): Promise<Answer> {
  const now = Date.now();
  if (at !== undefined && at > now) return refused("the moment is in the future");
  if (at !== undefined && at < now - KEPT_MS)
    return refused("the moment is more than 30 days ago, and the platform keeps no older history");
  try {
    const found = await (at === undefined ? storage.getCurrentBookmark() : storage.getBookmarkForTime(at));
    return bookmarkAnswer(found);
  } catch (error) {
    return { results: [], error: failure(error) };
  }
}

/**
 * Restarts the object at a bookmark. Returns only a refusal: the restart ends the call with an error.
 *
 * The caller gets the bookmark that undoes the restore first. After `onNextSessionRestoreBookmark` the object restores
 * at its next restart, at any time, so nothing may run between that call and the restart that could delay it.
 */
export async function restore(state: DurableObjectState, target: string, tell: Tell): Promise<Answer> {
  let undo: string;
  try {
    undo = await state.storage.onNextSessionRestoreBookmark(target);
  } catch (error) {
    return { results: [], error: failure(error) };
  }
  try {
    await Promise.race([tell(undo), scheduler.wait(TELL_MS)]);
  } catch {
    // The caller has disconnected. The restore continues, because it has begun.
  }
  state.abort("the object restarts to restore a bookmark");
  throw new Error("the object did not restart");
}

/** The answer that carries a bookmark. */
export function bookmarkAnswer(found: string): Answer {
  return { results: [JSON.stringify({ columns: ["bookmark"], rows: [[found]] })] };
}

function failure(error: unknown): Failure {
  const found = objectFailure(error, "none");
  if (found.message.includes(NO_HISTORY))
    return { kind: "unsupported", message: "this runtime keeps no history of objects", effect: "none" };
  // The runtime's own words for a bookmark or a moment that it does not accept are not documented.
  if (found.kind !== "internal") return { ...found, effect: "none" };
  return { kind: "bad_bookmark", message: `the platform refused it: ${found.message}`, effect: "none" };
}

function refused(message: string): Answer {
  return { results: [], error: { kind: "bad_bookmark", message, effect: "none" } };
}

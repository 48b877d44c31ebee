// Turns what SQLite returned into the values of the session protocol.

/** A value as it stands in an answer's rows. */
export type WireValue = number | string | null | { b: string } | { f: "inf" | "-inf" };

/** A value as the runtime returns it: a Durable Object returns blobs as `ArrayBuffer`, D1 as an array of bytes. */
export type SqlValue = number | string | null | ArrayBuffer | number[];

export function encodeValue(value: SqlValue): WireValue {
  if (value === null || typeof value === "string") return value;
  if (typeof value === "number") return encodeNumber(value);
  const bytes = Array.isArray(value) ? Uint8Array.from(value) : new Uint8Array(value);
  return { b: bytes.toBase64() };
}

function encodeNumber(value: number): WireValue {
  // JSON has no infinities: JSON.stringify would turn them into null.
  if (value === Infinity) return { f: "inf" };
  if (value === -Infinity) return { f: "-inf" };
  return value;
}

/** Number of bytes that a text takes as UTF-8. */
export function byteLength(text: string): number {
  let bytes = text.length;
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    if (unit < 0x80) continue;
    // A surrogate pair is two units and four bytes: two for each of its halves.
    bytes += unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 1 : 2;
  }
  return bytes;
}

/**
 * A fast hash of a key, for tables that live as long as a batch.
 *
 * Invariant: it says nothing to anybody: no stored byte and no order depends on it. It is no secret either, so whoever
 * uses it must bear keys that were chosen to collide.
 */

/** 32 bits that depend on every byte of `key[from .. to)`. */
export const hashBytes = (key: Uint8Array, from = 0, to = key.length): number => {
  let hash = to - from
  let i = from
  for (; i + 4 <= to; i += 4) {
    const word = key[i]! | (key[i + 1]! << 8) | (key[i + 2]! << 16) | (key[i + 3]! << 24)
    hash = Math.imul(hash ^ word, 0x9e3779b1)
    hash ^= hash >>> 15
  }
  for (; i < to; i++) hash = Math.imul(hash ^ key[i]!, 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}

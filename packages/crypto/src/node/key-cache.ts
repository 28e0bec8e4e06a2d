/**
 * A bounded cache of imported keys, by key bytes.
 *
 * Importing a key costs about as much as using it once. The cache forgets the least recently used key.
 *
 * Invariant: it never holds more than `sizeMax` entries.
 */
import type { KeyObject } from "node:crypto"
import { bytesKey } from "@coppice/codec"

/** Keys by their bytes; `load` makes the one that is missing, and its failure is not remembered. */
export class KeyCache {
  readonly #sizeMax: number
  readonly #load: (bytes: Uint8Array) => KeyObject
  readonly #entries = new Map<string, KeyObject>()

  constructor(sizeMax: number, load: (bytes: Uint8Array) => KeyObject) {
    this.#sizeMax = sizeMax
    this.#load = load
  }

  /** Keys held. */
  get size(): number {
    return this.#entries.size
  }

  /** The imported key of `bytes`. Errors: those of `load`. */
  get(bytes: Uint8Array): KeyObject {
    const name = bytesKey(bytes)
    const held = this.#entries.get(name)
    const key = held ?? this.#load(bytes)
    if (held !== undefined) this.#entries.delete(name)
    this.#entries.set(name, key)
    if (this.#entries.size > this.#sizeMax) this.#entries.delete(this.#entries.keys().next().value!)
    return key
  }
}

/**
 * Walking the keys that an open batch sees: its own writes over the active keys of its parent.
 *
 * Terms: a *walk* steps from one active key to the next, up or down, and gives the value at the key it stands at.
 *
 * Invariant: where both have a key, the batch's own write is what counts; a removed key is passed over.
 */
import { keyBytes } from "@coppice/codec"
import type { KeyText } from "@coppice/verify/log"
import type { KeyTable } from "./key-table.ts"
import { nearer } from "./key-walk.ts"
import { SortedKeys } from "./sorted-keys.ts"
import { REMOVED, type Writes } from "./writes.ts"

/** Steps through active keys with their encoded values. */
export interface Walk {
  /** Steps to the next key; undefined past the last. */
  readonly next: () => KeyText | undefined
  /** Encoded value of the key it stands at, as a view that holds until the next step. */
  readonly value: () => Uint8Array
}

/** The written keys of a batch in order, as far as somebody has asked for them. */
export class WrittenKeys {
  readonly sorted = new SortedKeys()
  private readonly texts: Array<KeyText> = []

  /** Takes in keys that were written since. */
  update(keys: KeyTable): void {
    for (let number = this.texts.length; number < keys.count; number++) {
      const text = keys.text(number)
      this.texts.push(text)
      this.sorted.add(text)
    }
  }

  /** Drops the keys from number `count` on. */
  truncate(count: number): void {
    while (this.texts.length > count) this.sorted.remove(this.texts.pop()!)
  }
}

/** See the head of this file. */
export class MergedWalk implements Walk {
  private readonly parent: Walk
  private readonly writes: Writes
  private readonly written: SortedKeys
  private readonly reverse: boolean
  private parentKey: KeyText | undefined
  private writtenKey: KeyText | undefined
  private key: KeyText | undefined
  private own: number | undefined

  /** Walks as `parent` does, which has not stepped yet, from the same bound. */
  constructor(parent: Walk, writes: Writes, written: SortedKeys, bound: KeyText | undefined, reverse: boolean) {
    this.parent = parent
    this.writes = writes
    this.written = written
    this.reverse = reverse
    this.parentKey = parent.next()
    this.writtenKey = reverse ? written.before(bound) : written.atOrAfter(bound ?? "")
  }

  readonly next = (): KeyText | undefined => {
    for (;;) {
      const left = this.key
      if (left !== undefined) {
        if (this.parentKey === left) this.parentKey = this.parent.next()
        if (this.writtenKey === left) {
          this.writtenKey = this.reverse ? this.written.before(left) : this.written.atOrAfter(`${left}\0`)
        }
      }
      const key = nearer(this.parentKey, this.writtenKey, this.reverse)
      this.key = key
      if (key === undefined) return undefined
      this.own = key === this.writtenKey ? this.writes.find(keyBytes(key)) : undefined
      if (this.own !== REMOVED) return key
    }
  }

  readonly value = (): Uint8Array => (this.own === undefined ? this.parent.value() : this.writes.value(this.own))
}

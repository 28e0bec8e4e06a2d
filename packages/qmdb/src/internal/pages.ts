/**
 * Records of one length in pages that states share.
 *
 *   parent     [p0][p1][p2]              a fork shares every page and copies one when it first writes into it
 *   fork       [p0][q1][p2][q3]          what it dropped or cut off stays with the parent
 *
 * Terms: a *fork* is being written; it is *sealed* once and never changes again. Record `i` stands in page
 * `floor(i / perPage)`; pages before the first kept one are not held.
 *
 * Invariant: a page is written only by the fork that made it, so a read costs the same however long the chain of forks is,
 * and none of them needs another to stay alive.
 */
import { PAGE_BYTES } from "./layout.ts"

/** What an entry of the directory costs. */
const ENTRY_BYTES = 8
const WORD_BYTES = 8

/** An array of records by number, from some first one on. */
export class Pages {
  readonly recordBytes: number
  private readonly perPage: number
  /** Number of the first page held. */
  private first = 0
  private pages: Array<DataView> = []
  /** The array forked from, until sealed. */
  private parent: Pages | undefined
  /** Bytes that this array does not share with the one it was forked from. */
  bytes = 0

  /** An empty, sealed array. */
  constructor(recordBytes: number) {
    this.recordBytes = recordBytes
    this.perPage = Math.max(1, Math.floor(PAGE_BYTES / recordBytes))
  }

  /** A writable array with the same records. */
  fork(): Pages {
    const fork = new Pages(this.recordBytes)
    fork.first = this.first
    fork.pages = [...this.pages]
    fork.parent = this
    return fork
  }

  /** Ends writing. */
  seal(): Pages {
    this.parent = undefined
    this.bytes += this.pages.length * ENTRY_BYTES
    return this
  }

  /** Holds exactly the pages of records `from .. to`: drops others, and adds pages of zeros where there are none. */
  cover(from: number, to: number): void {
    const first = Math.floor(from / this.perPage)
    const end = Math.max(first, Math.ceil(to / this.perPage))
    const pages: Array<DataView> = []
    for (let page = first; page < end; page++) pages.push(this.pages[page - this.first] ?? this.make())
    this.first = first
    this.pages = pages
  }

  private make(): DataView {
    const page = new DataView(new ArrayBuffer(this.perPage * this.recordBytes))
    this.bytes += page.byteLength
    return page
  }

  /** The page of a record, for reading. */
  page(record: number): DataView {
    const page = this.pages[Math.floor(record / this.perPage) - this.first]
    if (page === undefined) throw new Error(`record ${record} is not held`)
    return page
  }

  /** Where in its page a record begins. */
  at(record: number): number {
    return (record % this.perPage) * this.recordBytes
  }

  /** The page of a record, for writing. */
  writable(record: number): DataView {
    const { parent } = this
    if (parent === undefined) throw new Error("a sealed array is not written")
    const page = this.page(record)
    const number = Math.floor(record / this.perPage)
    if (page !== parent.pages[number - parent.first]) return page
    const copy = new DataView(page.buffer.slice(0))
    this.bytes += copy.byteLength
    this.pages[number - this.first] = copy
    return copy
  }

  /** A record, in a fresh array. */
  read(record: number): Uint8Array {
    // A slice of the buffer itself would be memory outside the heap.
    return new Uint8Array(this.page(record).buffer, this.at(record), this.recordBytes).slice()
  }

  /** Replaces a record. */
  write(record: number, bytes: Uint8Array): void {
    new Uint8Array(this.writable(record).buffer).set(bytes, this.at(record))
  }

  /** Whether a record is all zeros. */
  isZero(record: number): boolean {
    const page = this.page(record)
    let at = this.at(record)
    const end = at + this.recordBytes
    // Half a word at a time: comparing a whole one makes a big integer of it.
    for (; at + 4 <= end; at += 4) if (page.getInt32(at) !== 0) return false
    for (; at < end; at++) if (page.getUint8(at) !== 0) return false
    return true
  }

  /** Zeros every byte from `byte` of a record to the end of its page. */
  clearFrom(record: number, byte: number): void {
    new Uint8Array(this.writable(record).buffer).fill(0, this.at(record) + byte)
  }

  /** Copies a record to `target` at `at`. */
  copyTo(record: number, target: DataView, at: number): void {
    copyBytes(this.page(record), this.at(record), target, at, this.recordBytes)
  }

  /** Replaces a record with what stands at `from` of `source`. */
  copyFrom(record: number, source: DataView, from: number): void {
    copyBytes(source, from, this.writable(record), this.at(record), this.recordBytes)
  }
}

const copyBytes = (source: DataView, from: number, target: DataView, at: number, length: number): void => {
  let done = 0
  for (; done + WORD_BYTES <= length; done += WORD_BYTES) {
    target.setBigUint64(at + done, source.getBigUint64(from + done))
  }
  for (; done < length; done++) target.setUint8(at + done, source.getUint8(from + done))
}

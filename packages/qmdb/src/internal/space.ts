/**
 * Rows of one member: packed sequences under a prefix.
 *
 *   row key    member (1) | incarnation (4) | row number (6)
 *   row value  record record record ...        as many as fit ROW_BYTES
 *
 * Terms: a *packed sequence* is an append-only array of records of one length, cut into rows. The last row is partial and
 * is written again by each flush that extends it; every other row is written once.
 *
 * Invariant: a row only grows, so a cached row is right for every record that it has; whoever cuts a sequence forgets the
 * cached rows. Reads go through these rows, and what they return is a view of one.
 */
import { bytesKey, DecodeError } from "@coppice/codec"
import type { Change, MapName, StorageShape } from "@coppice/storage"
import { MemberCorrupt } from "../errors.ts"
import type { MemberHome } from "../member.ts"
import { ByteStore, copyBytes, viewOf } from "./byte-store.ts"
import { PACKED_OPERATIONS, ROW_BYTES } from "./layout.ts"

const PREFIX_BYTES = 5
const NUMBER_BYTES = 6

/** Length of an owner record. */
export const OWNER_BYTES = 4

/** The key space of one member. */
export class Space {
  readonly storage: StorageShape
  readonly member: number
  private readonly prefix: Buffer
  private readonly rowLookup: Buffer
  /** Reused arrays by length, at most one for each length of a key. */
  private readonly lookupKeys: Array<ByteStore | undefined> = []
  /** The array that the last look-up read from, and a view of it: the keys of a batch lie in one. */
  private source: Uint8Array = new Uint8Array(0)
  private sourceView = viewOf(this.source)

  constructor(home: MemberHome) {
    this.storage = home.storage
    this.member = home.member
    this.prefix = Buffer.alloc(PREFIX_BYTES)
    this.prefix.writeUInt8(home.member, 0)
    this.prefix.writeUInt32BE(home.incarnation, 1)
    this.rowLookup = this.rowKey(0)
  }

  /** Storage key of a numbered row, in a fresh array. */
  rowKey(row: number): Buffer {
    const key = Buffer.allocUnsafe(PREFIX_BYTES + NUMBER_BYTES)
    this.prefix.copy(key)
    key.writeUIntBE(row, PREFIX_BYTES, NUMBER_BYTES)
    return key
  }

  /** The same in an array that the next call reuses: for reads. */
  lookupRow(row: number): Uint8Array {
    this.rowLookup.writeUIntBE(row, PREFIX_BYTES, NUMBER_BYTES)
    return this.rowLookup
  }

  /** Storage key of a latin1 text under this member's prefix, in a fresh array. */
  textKey(text: string): Buffer {
    const key = Buffer.allocUnsafe(PREFIX_BYTES + text.length)
    this.prefix.copy(key)
    key.write(text, PREFIX_BYTES, "latin1")
    return key
  }

  /** The text of a storage key, or undefined when it is not under this member's prefix. */
  textOf(key: Uint8Array): string | undefined {
    for (let i = 0; i < PREFIX_BYTES; i++) if (key[i] !== this.prefix[i]) return undefined
    return bytesKey(key.subarray(PREFIX_BYTES))
  }

  /** Storage key of an identity under this member's prefix, in a fresh array. */
  identityKey(identity: Uint8Array): Uint8Array {
    return new Uint8Array(this.lookupKey(identity, 0, identity.length))
  }

  /** Storage key of `bytes[from .. to)` under this member's prefix, in an array that the next call reuses: for reads. */
  lookupKey(bytes: Uint8Array, from: number, to: number): Uint8Array {
    const length = PREFIX_BYTES + to - from
    let key = this.lookupKeys[length]
    if (key === undefined) {
      key = new ByteStore(length)
      key.write(this.prefix, 0)
      this.lookupKeys[length] = key
    }
    if (from === 0 && to === bytes.length) {
      // An array of its own is met once: a view of it would cost more than the copy.
      key.write(bytes, PREFIX_BYTES)
      return key.bytes
    }
    if (bytes !== this.source) {
      this.source = bytes
      this.sourceView = viewOf(bytes)
    }
    copyBytes(this.source, this.sourceView, from, to, key, PREFIX_BYTES)
    return key.bytes
  }

  /** Adds the removal of the numbered rows `[from, to)`. */
  removeRows(map: MapName, from: number, to: number, changes: Array<Change>): void {
    for (let row = from; row < to; row++) changes.push({ tag: "remove", map, key: this.rowKey(row) })
  }

  /** Reads bytes that this member has written: what does not decode is corrupt. Throws `MemberCorrupt`. */
  own<A>(read: () => A): A {
    try {
      return read()
    } catch (error) {
      if (error instanceof DecodeError) throw this.corrupt(`an operation does not decode: ${error.message}`)
      throw error
    }
  }

  /** The error of a row that must be there and is not, or is malformed. */
  corrupt(detail: string): MemberCorrupt {
    return new MemberCorrupt(this.member, detail)
  }
}

/** A sequence of records in rows, whatever their lengths. */
export interface Packed {
  readonly recordsPerRow: number
  /** A record, as a view that holds until the next read. */
  readonly read: (record: number) => Uint8Array
  /** Changes that cut the sequence from `end` records to its first `count`, its last row included. */
  readonly cut: (count: number, end: number, changes: Array<Change>) => void
  /** Changes that remove the rows that lie wholly before record `to` and not before `from`. */
  readonly trim: (from: number, to: number, changes: Array<Change>) => void
  /** Forgets the rows in memory: what they hold has been cut. */
  readonly forget: () => void
}

/** A row in memory, as far as it was when it was read. */
interface CachedRow {
  row: number
  bytes: number
  readonly store: ByteStore
}

const NO_ROW = new ByteStore(0)

/** Reads and extends one packed sequence. */
export class PackedRecords implements Packed {
  readonly recordBytes: number
  readonly recordsPerRow: number
  private readonly space: Space
  private readonly map: MapName
  private readonly rowBytes: number
  /** Row `n` lies at `n` modulo their number: rows in a run do not drive each other out. */
  private readonly cached: Array<CachedRow | undefined>
  /** The row found last. */
  private store = NO_ROW

  /** `cacheBytes`: memory for cached rows, of which there is at least one. More serve where rows are read in no order. */
  constructor(space: Space, map: MapName, recordBytes: number, cacheBytes = 0) {
    this.space = space
    this.map = map
    this.recordBytes = recordBytes
    this.recordsPerRow = Math.max(1, Math.floor(ROW_BYTES / recordBytes))
    this.rowBytes = this.recordsPerRow * recordBytes
    this.cached = new Array(Math.max(1, Math.floor(cacheBytes / this.rowBytes)))
  }

  /** Has the row of a record in memory, at least up to that record; returns where the record begins in it. */
  private find(record: number): number {
    const row = Math.floor(record / this.recordsPerRow)
    const at = (record - row * this.recordsPerRow) * this.recordBytes
    const needed = at + this.recordBytes
    const place = row % this.cached.length
    let cached = this.cached[place]
    if (cached === undefined) {
      cached = { row: -1, bytes: 0, store: new ByteStore(this.rowBytes) }
      this.cached[place] = cached
    }
    if (cached.row !== row || cached.bytes < needed) this.load(cached, row, needed)
    this.store = cached.store
    return at
  }

  private load(cached: CachedRow, row: number, needed: number): void {
    cached.row = -1
    const { bytes } = cached.store
    const length = this.space.storage.getInto(this.map, this.space.lookupRow(row), bytes)
    if (length < needed) throw this.space.corrupt(`${this.map}: row ${row} is missing or too short`)
    cached.row = row
    cached.bytes = Math.min(length, bytes.length)
  }

  /** Copies bytes `[from, to)` of a record into `target` at `at`. */
  copyBytes(record: number, from: number, to: number, target: ByteStore, at: number): void {
    const start = this.find(record)
    this.store.copyTo(start + from, start + to, target, at)
  }

  /** A record, as a view that holds until the next read. */
  read(record: number): Uint8Array {
    const at = this.find(record)
    return this.store.bytes.subarray(at, at + this.recordBytes)
  }

  /** The row of a record up to and with that record, as a view that holds until the next read. */
  private upTo(record: number): Uint8Array {
    const at = this.find(record)
    return this.store.bytes.subarray(0, at + this.recordBytes)
  }

  /** The first four bytes of a record as a little-endian number. */
  uint32(record: number): number {
    const at = this.find(record)
    return this.store.view.getUint32(at, true)
  }

  forget(): void {
    this.cached.fill(undefined)
  }

  cut(count: number, end: number, changes: Array<Change>): void {
    const row = Math.floor(count / this.recordsPerRow)
    const kept = count % this.recordsPerRow
    if (kept > 0 && count < end) {
      const value = Uint8Array.from(this.upTo(count - 1))
      changes.push({ tag: "put", map: this.map, key: this.space.rowKey(row), value })
    }
    this.space.removeRows(this.map, kept > 0 ? row + 1 : row, Math.ceil(end / this.recordsPerRow), changes)
  }

  trim(from: number, to: number, changes: Array<Change>): void {
    const { recordsPerRow } = this
    this.space.removeRows(this.map, Math.floor(from / recordsPerRow), Math.floor(to / recordsPerRow), changes)
  }

  /**
   * Changes that append records. `parts` are whole records, in order; they are borrowed by the changes where a row lies
   * within one of them.
   */
  append(count: number, parts: ReadonlyArray<Uint8Array>, changes: Array<Change>): void {
    const { rowBytes } = this
    let row = Math.floor(count / this.recordsPerRow)
    let openBytes = (count % this.recordsPerRow) * this.recordBytes
    let open: Array<Uint8Array> = openBytes === 0 ? [] : [this.upTo(count - 1)]
    const close = (): void => {
      if (openBytes === 0) return
      const value = open.length === 1 ? open[0]! : Buffer.concat(open, openBytes)
      changes.push({ tag: "put", map: this.map, key: this.space.rowKey(row), value })
      row += 1
      open = []
      openBytes = 0
    }
    for (const part of parts) {
      for (let at = 0; at < part.length; ) {
        const take = Math.min(part.length - at, rowBytes - openBytes)
        open.push(part.subarray(at, at + take))
        openBytes += take
        at += take
        if (openBytes === rowBytes) close()
      }
    }
    close()
  }
}

/** Records of varying length back to back: record `i` is `bytes[offsets[i] .. offsets[i + 1])`. */
export interface VariableRecords {
  readonly count: number
  readonly bytes: Uint8Array
  readonly offsets: Uint32Array
}

const COUNT_BYTES = 2
const END_BYTES = 4

/**
 * A packed sequence of records of varying length: a row holds up to `PACKED_OPERATIONS` of them behind their number and
 * end offsets.
 */
export class PackedVariable implements Packed {
  readonly recordsPerRow = PACKED_OPERATIONS
  private readonly space: Space
  private readonly map: MapName
  private row = Buffer.allocUnsafeSlow(ROW_BYTES)
  private cachedRow = -1
  /** Records in the cached row, and where the first begins. */
  private count = 0
  private body = 0

  constructor(space: Space, map: MapName) {
    this.space = space
    this.map = map
  }

  /** A record, as a view that holds until the next read. */
  read(record: number): Uint8Array {
    const index = record % PACKED_OPERATIONS
    this.require(Math.floor(record / PACKED_OPERATIONS), index)
    return this.row.subarray(this.body + this.endOf(index - 1), this.body + this.endOf(index))
  }

  private endOf(index: number): number {
    return index < 0 ? 0 : this.row.readUInt32LE(COUNT_BYTES + END_BYTES * index)
  }

  private require(row: number, index: number): void {
    if (row !== this.cachedRow || this.count <= index) this.load(row)
    if (this.count <= index) throw this.space.corrupt(`${this.map}: row ${row} ends before record ${index}`)
  }

  private load(row: number): void {
    this.cachedRow = -1
    const key = this.space.lookupRow(row)
    let length = this.space.storage.getInto(this.map, key, this.row)
    if (length > this.row.length) {
      this.row = Buffer.allocUnsafeSlow(length)
      length = this.space.storage.getInto(this.map, key, this.row)
    }
    const count = length < COUNT_BYTES ? 0 : this.row.readUInt16LE(0)
    const body = COUNT_BYTES + END_BYTES * count
    const whole = count >= 1 && count <= PACKED_OPERATIONS && length >= body
    if (!whole || length !== body + this.endOf(count - 1)) {
      throw this.space.corrupt(`${this.map}: row ${row} is missing or malformed`)
    }
    this.cachedRow = row
    this.count = count
    this.body = body
  }

  forget(): void {
    this.cachedRow = -1
  }

  cut(count: number, end: number, changes: Array<Change>): void {
    const row = Math.floor(count / PACKED_OPERATIONS)
    const kept = count % PACKED_OPERATIONS
    if (kept > 0 && count < end) {
      const open = new OpenRow()
      this.reopen(row, kept, open)
      changes.push({ tag: "put", map: this.map, key: this.space.rowKey(row), value: open.finish() })
    }
    this.space.removeRows(this.map, kept > 0 ? row + 1 : row, Math.ceil(end / PACKED_OPERATIONS), changes)
  }

  trim(from: number, to: number, changes: Array<Change>): void {
    const first = Math.floor(from / PACKED_OPERATIONS)
    this.space.removeRows(this.map, first, Math.floor(to / PACKED_OPERATIONS), changes)
  }

  /** Puts the first `held` records of a row into one that is open. */
  private reopen(row: number, held: number, open: OpenRow): void {
    this.require(row, held - 1)
    const ends = Uint32Array.from({ length: held + 1 }, (_, i) => this.endOf(i - 1))
    open.add({ bytes: this.row.subarray(this.body), offsets: ends, count: held }, 0, held)
  }

  /** Changes that append records. Pauses between rows. */
  *append(
    count: number,
    parts: ReadonlyArray<VariableRecords>,
    changes: Array<Change>,
  ): Generator<undefined, void, void> {
    let row = Math.floor(count / PACKED_OPERATIONS)
    const open = new OpenRow()
    const held = count % PACKED_OPERATIONS
    if (held > 0) this.reopen(row, held, open)
    const close = (): void => {
      changes.push({ tag: "put", map: this.map, key: this.space.rowKey(row), value: open.finish() })
      row += 1
    }
    for (const part of parts) {
      for (let from = 0; from < part.count; ) {
        const to = Math.min(part.count, from + PACKED_OPERATIONS - open.count)
        open.add(part, from, to)
        from = to
        if (open.count < PACKED_OPERATIONS) continue
        close()
        if (row % ROWS_PER_SLICE === 0) yield undefined
      }
    }
    if (open.count > 0) close()
  }
}

const ROWS_PER_SLICE = 256

/** A row in the making. */
class OpenRow {
  count = 0
  private bytes = 0
  private readonly ends = new Uint32Array(PACKED_OPERATIONS)
  private chunks: Array<Uint8Array> = []

  /** Takes records `from .. to` of a part. */
  add({ bytes, offsets }: VariableRecords, from: number, to: number): void {
    const start = offsets[from]!
    for (let i = from; i < to; i++) this.ends[this.count++] = this.bytes + offsets[i + 1]! - start
    this.chunks.push(bytes.subarray(start, offsets[to]!))
    this.bytes += offsets[to]! - start
  }

  /** The row; the next one begins empty. */
  finish(): Buffer {
    const header = Buffer.allocUnsafe(COUNT_BYTES + END_BYTES * this.count)
    header.writeUInt16LE(this.count, 0)
    for (let i = 0; i < this.count; i++) header.writeUInt32LE(this.ends[i]!, COUNT_BYTES + END_BYTES * i)
    const row = Buffer.concat([header, ...this.chunks])
    this.count = 0
    this.bytes = 0
    this.chunks = []
    return row
  }
}

/**
 * Rows of one member: packed sequences under a prefix.
 *
 *   row key    member (1) | incarnation (4) | row number (6)
 *   row value  record record record ...        as many as fit ROW_BYTES
 *
 * Terms: a *packed sequence* is an append-only array of records of one length, cut into rows. The last row is partial and
 * is written again by each flush that extends it; every other row is written once.
 *
 * Invariant: a row never changes what it holds, it only grows, so a cached row is right for every record that it has.
 */
import type { Change, MapName, StorageShape } from "@coppice/storage"
import { MemberCorrupt } from "../errors.ts"
import type { MemberHome } from "../member.ts"
import { PACKED_OPERATIONS, ROW_BYTES } from "./layout.ts"

const PREFIX_BYTES = 5
const NUMBER_BYTES = 6

/** The key space of one member. */
export class Space {
  readonly storage: StorageShape
  readonly member: number
  private readonly prefix: Buffer
  private scratch = Buffer.alloc(0)

  constructor(home: MemberHome) {
    this.storage = home.storage
    this.member = home.member
    this.prefix = Buffer.alloc(PREFIX_BYTES)
    this.prefix.writeUInt8(home.member, 0)
    this.prefix.writeUInt32BE(home.incarnation, 1)
  }

  /** Storage key of a numbered row, in a fresh array. */
  rowKey(row: number): Buffer {
    const key = Buffer.allocUnsafe(PREFIX_BYTES + NUMBER_BYTES)
    this.prefix.copy(key)
    key.writeUIntBE(row, PREFIX_BYTES, NUMBER_BYTES)
    return key
  }

  /** Storage key of a latin1 text under this member's prefix, in a fresh array. */
  textKey(text: string): Buffer {
    const key = Buffer.allocUnsafe(PREFIX_BYTES + text.length)
    this.prefix.copy(key)
    key.write(text, PREFIX_BYTES, "latin1")
    return key
  }

  /** Storage key of a latin1 text, in an array that the next call reuses: for reads, which copy their key. */
  lookupKey(text: string): Uint8Array {
    const length = PREFIX_BYTES + text.length
    if (this.scratch.length !== length) {
      this.scratch = Buffer.alloc(length)
      this.prefix.copy(this.scratch)
    }
    this.scratch.write(text, PREFIX_BYTES, "latin1")
    return this.scratch
  }

  /** Number of the row that a storage key names. */
  rowOfKey(key: Uint8Array): number {
    return Buffer.from(key.buffer, key.byteOffset, key.byteLength).readUIntBE(PREFIX_BYTES, NUMBER_BYTES)
  }

  /** The error of a row that must be there and is not, or is malformed. */
  corrupt(detail: string): MemberCorrupt {
    return new MemberCorrupt(this.member, detail)
  }
}

/** Reads and extends one packed sequence. */
export class PackedRecords {
  readonly recordBytes: number
  readonly recordsPerRow: number
  private readonly space: Space
  private readonly map: MapName
  private cachedRow = -1
  private cached: Buffer = Buffer.alloc(0)

  constructor(space: Space, map: MapName, recordBytes: number) {
    this.space = space
    this.map = map
    this.recordBytes = recordBytes
    this.recordsPerRow = Math.max(1, Math.floor(ROW_BYTES / recordBytes))
  }

  /** The row that holds a record, at least up to that record; a view that stays valid. */
  rowOf(record: number): Buffer {
    const row = Math.floor(record / this.recordsPerRow)
    const needed = (record - row * this.recordsPerRow + 1) * this.recordBytes
    if (row !== this.cachedRow || this.cached.length < needed) {
      const value = this.space.storage.get(this.map, this.space.rowKey(row))
      if (value === undefined || value.length < needed) {
        throw this.space.corrupt(`${this.map}: record ${record} is missing`)
      }
      this.cachedRow = row
      this.cached = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    }
    return this.cached
  }

  /** Copies a record into `target` at `at`. */
  copyTo(record: number, target: Buffer, at: number): void {
    const from = (record % this.recordsPerRow) * this.recordBytes
    this.rowOf(record).copy(target, at, from, from + this.recordBytes)
  }

  /** A record as a view of its row. */
  read(record: number): Uint8Array {
    const row = this.rowOf(record)
    const at = (record % this.recordsPerRow) * this.recordBytes
    return row.subarray(at, at + this.recordBytes)
  }

  /**
   * Changes that append records. `parts` are whole records, in order; they are borrowed by the changes where a row lies
   * within one of them.
   */
  append(count: number, parts: ReadonlyArray<Uint8Array>, changes: Array<Change>): void {
    const rowBytes = this.recordsPerRow * this.recordBytes
    let row = Math.floor(count / this.recordsPerRow)
    const inTail = (count % this.recordsPerRow) * this.recordBytes
    let open: Array<Uint8Array> = inTail === 0 ? [] : [this.rowOf(count - 1).subarray(0, inTail)]
    let openBytes = inTail
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

/** Operations of varying length: a row holds up to `PACKED_OPERATIONS` of them behind their end offsets. */
export class PackedVariable {
  private readonly space: Space
  private readonly map: MapName
  private cachedRow = -1
  private cached: Buffer = Buffer.alloc(0)
  /** Records in the cached row. */
  private count = 0

  constructor(space: Space, map: MapName) {
    this.space = space
    this.map = map
  }

  /** A record as a view of its row. */
  read(record: number): Uint8Array {
    const row = Math.floor(record / PACKED_OPERATIONS)
    const index = record % PACKED_OPERATIONS
    if (row !== this.cachedRow || this.count <= index) this.load(row)
    if (this.count <= index) throw this.space.corrupt(`${this.map}: record ${record} is missing`)
    const body = 2 + 4 * this.count
    const start = index === 0 ? 0 : this.cached.readUInt32LE(2 + 4 * (index - 1))
    return this.cached.subarray(body + start, body + this.cached.readUInt32LE(2 + 4 * index))
  }

  private load(row: number): void {
    const value = this.space.storage.get(this.map, this.space.rowKey(row))
    if (value === undefined) throw this.space.corrupt(`${this.map}: row ${row} is missing`)
    const cached = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    const count = value.length < 2 ? 0 : cached.readUInt16LE(0)
    const body = 2 + 4 * count
    const whole = count >= 1 && count <= PACKED_OPERATIONS && value.length >= body
    if (!whole || value.length !== body + cached.readUInt32LE(body - 4)) {
      throw this.space.corrupt(`${this.map}: row ${row} is malformed`)
    }
    this.cached = cached
    this.cachedRow = row
    this.count = count
  }

  /** Changes that append records. */
  append(count: number, records: Iterable<Uint8Array>, changes: Array<Change>): void {
    let row = Math.floor(count / PACKED_OPERATIONS)
    let open: Array<Uint8Array> = []
    for (let record = row * PACKED_OPERATIONS; record < count; record++) open.push(this.read(record))
    let added = false
    const close = (): void => {
      changes.push({ tag: "put", map: this.map, key: this.space.rowKey(row), value: packVariable(open) })
      row += 1
      open = []
      added = false
    }
    for (const record of records) {
      open.push(record)
      added = true
      if (open.length === PACKED_OPERATIONS) close()
    }
    if (added) close()
  }
}

const packVariable = (records: ReadonlyArray<Uint8Array>): Buffer => {
  const header = Buffer.allocUnsafe(2 + 4 * records.length)
  header.writeUInt16LE(records.length, 0)
  let end = 0
  records.forEach((record, i) => {
    end += record.length
    header.writeUInt32LE(end, 2 + 4 * i)
  })
  return Buffer.concat([header, ...records])
}

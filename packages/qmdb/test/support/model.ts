/**
 * The `any` database as the specification tells it, and nothing else: whole copies, no index, no slots. The ring of an
 * ordered one is its sorted list of active keys.
 *
 * Terms: a *model state* is the database after one commit. It never changes; sealing makes a new one.
 *
 * Source: spec qmdb §1.2 (operations), §2 (root), §4 and §5 (sealing); spec merkle §2 to §5 (positions, digests, root). Written
 * from the text: it shares no code with what it judges but SHA-256.
 */
import { createHash } from "node:crypto"
import { definedRoot } from "./canonical.ts"

/** Writes of a batch: value, or null for a delete, by key bytes as latin1 text. */
export type ModelWrites = ReadonlyMap<string, Uint8Array | null>

/** What fixes the bytes of a model database. Sizes make it fixed; without them keys and values have lengths before them. */
export interface ModelFormat {
  readonly family: "mmr" | "mmb"
  readonly ordered: boolean
  readonly sizes: { readonly key: number; readonly value: number } | undefined
}

interface ModelOperation {
  readonly tag: "update" | "delete" | "commit"
  readonly key: string
  readonly bytes: Uint8Array
}

interface Peak {
  readonly start: number
  readonly height: number
  readonly digest: Uint8Array
}

type Nodes = ReadonlyArray<Peak>

const sha256 = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const hash = createHash("sha256")
  for (const part of parts) hash.update(part)
  return Uint8Array.from(hash.digest())
}

const be8 = (n: number): Uint8Array => {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(n))
  return bytes
}

const varint = (n: number): ReadonlyArray<number> => (n < 128 ? [n] : [128 + (n % 128), ...varint(Math.floor(n / 128))])

const latin1 = (text: string): ReadonlyArray<number> => Array.from(text, (character) => character.charCodeAt(0))

const padded = (bytes: ReadonlyArray<number>, length: number): Uint8Array => {
  const whole = new Uint8Array(length)
  whole.set(bytes)
  return whole
}

const encodeKey = ({ sizes }: ModelFormat, key: string): ReadonlyArray<number> =>
  sizes === undefined ? [...varint(key.length), ...latin1(key)] : latin1(key)

const encodeValue = ({ sizes }: ModelFormat, value: Uint8Array): ReadonlyArray<number> =>
  sizes === undefined ? [...varint(value.length), ...value] : [...value]

const finish = ({ sizes, ordered }: ModelFormat, bytes: ReadonlyArray<number>): Uint8Array => {
  if (sizes === undefined) return Uint8Array.from(bytes)
  const keys = ordered ? 2 * sizes.key : sizes.key
  return padded(bytes, Math.max(1 + keys + sizes.value, 1 + 1 + sizes.value + 8, 1 + sizes.key))
}

const update = (format: ModelFormat, key: string, value: Uint8Array, next?: string): ModelOperation => ({
  tag: "update",
  key,
  bytes: finish(format, [
    0xd2,
    ...encodeKey(format, key),
    ...encodeValue(format, value),
    ...(next === undefined ? [] : encodeKey(format, next)),
  ]),
})

const remove = (format: ModelFormat, key: string): ModelOperation => ({
  tag: "delete",
  key,
  bytes: finish(format, [0xd1, ...encodeKey(format, key)]),
})

const commit = (format: ModelFormat, metadata: Uint8Array | undefined, floor: number): ModelOperation => {
  const { sizes } = format
  const present = metadata === undefined ? 0 : 1
  const value = metadata === undefined ? [] : encodeValue(format, metadata)
  const bytes =
    sizes === undefined
      ? [0xd3, present, ...value, ...varint(floor)]
      : [0xd3, present, ...padded(value, sizes.value), ...be8(floor)]
  return { tag: "commit", key: "", bytes: finish(format, bytes) }
}

const trailingOnes = (n: number): number => (n % 2 === 1 ? 1 + trailingOnes((n - 1) / 2) : 0)

/** The parents that leaf number `leaf` completes: spec merkle §2. */
const parentsOf = (
  family: "mmr" | "mmb",
  leaf: number,
): ReadonlyArray<{ readonly start: number; readonly height: number }> => {
  if (family === "mmr") {
    return Array.from({ length: trailingOnes(leaf) }, (_, i) => ({ start: leaf + 1 - 2 ** (i + 1), height: i + 1 }))
  }
  if (Number.isInteger(Math.log2(leaf + 2))) return []
  const height = trailingOnes(leaf + 1) + 1
  return [{ start: leaf + 2 - 3 * 2 ** (height - 1), height }]
}

const sorted = (keys: Iterable<string>): Array<string> => [...keys].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))

/** The first key of a ring after `key`, going round. */
const after = (ring: ReadonlyArray<string>, key: string): string => ring.find((each) => each > key) ?? ring[0]!

/** Where the operations of a batch go. */
interface Staged {
  readonly remove: (key: string) => void
  readonly emit: (key: string, value: Uint8Array, next?: string) => void
}

/** The database after one commit. */
export class ModelState {
  readonly format: ModelFormat
  readonly operations: ReadonlyArray<ModelOperation>
  readonly values: ReadonlyMap<number, Uint8Array>
  readonly active: ReadonlyMap<string, number>
  readonly floor: number
  readonly root: Uint8Array
  private readonly peaks: ReadonlyArray<Peak>
  /** By position. */
  private readonly nodes: Nodes

  private constructor(
    parent: ModelState | undefined,
    format: ModelFormat,
    added: ReadonlyArray<ModelOperation>,
    values: ReadonlyMap<number, Uint8Array>,
    active: ReadonlyMap<string, number>,
    floor: number,
  ) {
    this.format = format
    this.operations = [...(parent?.operations ?? []), ...added]
    this.values = values
    this.active = active
    this.floor = floor
    const peaks = [...(parent?.peaks ?? [])]
    const nodes = [...(parent?.nodes ?? [])]
    for (let leaf = parent?.size ?? 0; leaf < this.size; leaf++) {
      peaks.push({ start: leaf, height: 0, digest: sha256(be8(nodes.length), this.operations[leaf]!.bytes) })
      nodes.push(peaks.at(-1)!)
      for (const { start, height } of parentsOf(format.family, leaf)) {
        const at = peaks.findIndex((peak) => peak.start === start && peak.height === height - 1)
        const digest = sha256(be8(nodes.length), peaks[at]!.digest, peaks[at + 1]!.digest)
        nodes.push({ start, height, digest })
        peaks.splice(at, 2, nodes.at(-1)!)
      }
    }
    this.peaks = peaks
    this.nodes = nodes
    this.root = this.computeRoot()
  }

  static genesis(format: ModelFormat): ModelState {
    return new ModelState(undefined, format, [commit(format, undefined, 0)], new Map(), new Map(), 0)
  }

  get size(): number {
    return this.operations.length
  }

  private computeRoot(): Uint8Array {
    const active = this.peaks.findIndex(({ start, height }) => start + 2 ** height > this.floor)
    const inactive = active < 0 ? this.peaks.length : active
    let accumulator = this.peaks[0]!.digest
    for (const { digest } of this.peaks.slice(1, inactive)) accumulator = sha256(accumulator, digest)
    const rest = [accumulator, ...this.peaks.slice(Math.max(inactive, 1)).map(({ digest }) => digest)]
    let body = rest.at(-1)!
    for (const previous of rest.slice(0, -1).reverse()) body = sha256(previous, body)
    return inactive === 0 ? sha256(be8(this.size), body) : sha256(be8(this.size), be8(inactive), body)
  }

  /** The root with the bits of activity in chunks of so many bytes. */
  canonicalRoot(chunkBytes: number): Uint8Array {
    const at = new Map(this.nodes.map((node, position) => [`${node.start},${node.height}`, { ...node, position }]))
    const { size: leaves, floor, root: opsRoot, peaks } = this
    const node = (start: number, height: number) => at.get(`${start},${height}`)
    return definedRoot({ chunkBytes, leaves, floor, opsRoot, active: this.active.values(), peaks, node })
  }

  get(key: string): Uint8Array | undefined {
    const location = this.active.get(key)
    return location === undefined ? undefined : this.values.get(location)
  }

  /** Active keys in order. */
  get ring(): ReadonlyArray<string> {
    return sorted(this.active.keys())
  }

  /** The active key whose span contains a key, and the one after it: spec qmdb §5. */
  span(key: string): readonly [string, string] | undefined {
    const { ring } = this
    if (ring.length === 0) return undefined
    const owner = ring.findLast((each) => each <= key) ?? ring.at(-1)!
    return [owner, after(ring, owner)]
  }

  /** Spec qmdb §4 or §5, step by step. */
  seal(writes: ModelWrites, metadata?: Uint8Array): ModelState {
    const added: Array<ModelOperation> = []
    const active = new Map(this.active)
    const values = new Map(this.values)
    const staged: Staged = {
      remove: (key) => {
        added.push(remove(this.format, key))
        active.delete(key)
      },
      emit: (key, value, next) => {
        const location = this.size + added.length
        added.push(update(this.format, key, value, next))
        active.set(key, location)
        values.set(location, value)
      },
    }
    const steps = this.format.ordered ? this.writeOrdered(writes, staged) : this.writeUnordered(writes, staged)
    const floor = this.raiseFloor(steps, added, active, values)
    added.push(commit(this.format, metadata, floor))
    return new ModelState(this, this.format, added, values, active, floor)
  }

  private writeUnordered(writes: ModelWrites, { remove, emit }: Staged): number {
    const existing = [...writes.keys()].filter((key) => this.active.has(key))
    existing.sort((a, b) => this.active.get(a)! - this.active.get(b)!)
    for (const key of existing) {
      const value = writes.get(key)!
      if (value === null) remove(key)
      else emit(key, value)
    }
    const created = sorted(writes.keys()).filter((key) => !this.active.has(key) && writes.get(key) !== null)
    for (const key of created) emit(key, writes.get(key)!)
    return existing.length + 1
  }

  private writeOrdered(writes: ModelWrites, { remove, emit }: Staged): number {
    const keys = sorted(writes.keys())
    const deleted = keys.filter((key) => this.active.has(key) && writes.get(key) === null)
    const updated = keys.filter((key) => this.active.has(key) && writes.get(key) !== null)
    const created = keys.filter((key) => !this.active.has(key) && writes.get(key) !== null)
    const survivors = this.ring.filter((key) => !deleted.includes(key))
    const ring = sorted([...survivors, ...created])
    for (const key of deleted) remove(key)
    for (const key of [...updated, ...created]) emit(key, writes.get(key)!, after(ring, key))
    const rewritten = new Set<string>()
    for (const key of survivors.length === 0 ? [] : [...created, ...deleted]) {
      const before = survivors.findLast((each) => each < key) ?? survivors.at(-1)!
      if (updated.includes(before) || rewritten.has(before)) continue
      rewritten.add(before)
      emit(before, this.get(before)!, after(ring, before))
    }
    return deleted.length + updated.length + rewritten.size + 1
  }

  private raiseFloor(
    steps: number,
    added: Array<ModelOperation>,
    active: Map<string, number>,
    values: Map<number, Uint8Array>,
  ): number {
    const tip = this.size + added.length
    if (active.size === 0) return tip
    let moved = 0
    for (let location = this.floor; location < tip; location++) {
      const operation = this.operations[location] ?? added[location - this.size]!
      if (operation.tag !== "update" || active.get(operation.key) !== location) continue
      const to = this.size + added.length
      added.push(operation)
      active.set(operation.key, to)
      values.set(to, values.get(location)!)
      moved += 1
      if (moved === steps) return location + 1
    }
    return tip
  }
}

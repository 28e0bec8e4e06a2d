/**
 * The least database that is a member: text keys and values, its root the hash of its contents.
 *
 * Sealing and flushing take `steps` pauses, so that tests can look and act in between. Deliberate faults are set on the
 * spec: `brokenFlush` captures the tip when it ends instead of when it starts, `brokenApply` throws, `sloppy` seals what is
 * stale.
 */
import { bytesKey, decode, encode, List, Struct, Text, Varint } from "@coppice/codec"
import type { Digest, Hasher } from "@coppice/crypto"
import { Location } from "@coppice/merkle"
import {
  type Flush,
  type Layer,
  type Member,
  type MemberHome,
  type MemberSpec,
  type SealStep,
  StaleBatch,
} from "@coppice/qmdb"
import type { Change } from "@coppice/storage"

type Contents = ReadonlyMap<string, string>

interface Page extends Layer {
  readonly contents: Contents
  readonly parent: Page | undefined
  state: "pending" | "applied" | "closed"
}

export class NotebookBatch {
  readonly parent: Page
  readonly writes: Array<readonly [string, string]> = []
  open = true
  constructor(parent: Page) {
    this.parent = parent
  }
  get(key: string): string | undefined {
    return this.writes.findLast(([name]) => name === key)?.[1] ?? this.parent.contents.get(key)
  }
  put(key: string, value: string): void {
    if (!this.open) throw new StaleBatch("put", this.parent.id)
    this.writes.push([key, value])
  }
  readonly mark = (): number => this.writes.length
  readonly revert = (mark: number): void => {
    this.writes.length = mark
  }
}

export interface NotebookReader {
  readonly get: (key: string) => string | undefined
}

export interface NotebookOptions {
  readonly steps?: number
  readonly jobs?: boolean
  readonly brokenFlush?: boolean
  readonly brokenApply?: boolean
  /** Seals batches of branches that have lost. */
  readonly sloppy?: boolean
}

const stored = Struct({ size: Varint, entries: List(Struct({ key: Text(64), value: Text(64) }), 1024) })

const root = (hasher: Hasher, size: number, contents: Contents): Digest => hasher.hash(encodeContents(size, contents))

const encodeContents = (size: number, contents: Contents): Uint8Array =>
  encode(stored, {
    size,
    entries: [...contents].sort().map(([key, value]) => ({ key, value })),
  })

class Notebook implements Member<NotebookBatch, NotebookReader> {
  readonly #home: MemberHome
  readonly #options: NotebookOptions
  readonly #live = new Set<Page>()
  #nextId = 1
  #tip: Page
  #covered: Page

  constructor(home: MemberHome, options: NotebookOptions) {
    const { size, entries } = decode(stored, home.storage.get("meta", keyOf(home))!)
    const contents = new Map(entries.map(({ key, value }) => [key, value]))
    this.#home = home
    this.#options = options
    this.#tip = {
      id: 0,
      target: targetOf(home.hasher, size, contents),
      bytes: 0,
      contents,
      parent: undefined,
      state: "applied",
    }
    this.#covered = this.#tip
  }

  get tip(): Layer {
    return this.#tip
  }
  get bytes(): number {
    return this.layers
  }
  get layers(): number {
    return this.#live.size
  }
  readonly reader: NotebookReader = { get: (key) => this.#tip.contents.get(key) }

  #descends(page: Page, ancestor: Page): boolean {
    for (let p: Page | undefined = page; p !== undefined; p = p.parent) if (p === ancestor) return true
    return false
  }

  readonly openBatch = (layer: Layer): NotebookBatch => {
    const page = layer as Page
    if (page.state === "closed" || !this.#descends(page, this.#tip)) throw new StaleBatch("open", page.id)
    return new NotebookBatch(page)
  }

  readonly closeBatch = (batch: NotebookBatch): void => {
    batch.open = false
  };

  *seal(batch: NotebookBatch): Generator<SealStep, Layer, void> {
    const { parent } = batch
    if (!batch.open) throw new StaleBatch("seal", parent.id)
    batch.open = false
    for (let i = 0; i < (this.#options.steps ?? 0); i++) yield this.#options.jobs === true ? job() : undefined
    const lost = parent.state === "closed" || !this.#descends(parent, this.#tip)
    if (lost && this.#options.sloppy !== true) throw new StaleBatch("seal", parent.id)
    const contents = new Map([...parent.contents, ...batch.writes])
    const page: Page = {
      id: this.#nextId++,
      target: targetOf(this.#home.hasher, parent.target.end + 1, contents),
      bytes: 1,
      contents,
      parent,
      state: "pending",
    }
    this.#live.add(page)
    return page
  }

  readonly apply = (layer: Layer): void => {
    const page = layer as Page
    if (this.#options.brokenApply === true) throw new Error("broken apply")
    if (page.state === "closed" || !this.#descends(page, this.#tip)) throw new StaleBatch("apply", page.id)
    for (let p = page; p !== this.#tip; p = p.parent!) p.state = "applied"
    this.#tip = page
    for (const other of this.#live) if (other.state === "pending" && !this.#descends(other, page)) this.#drop(other)
  }

  readonly close = (layer: Layer): void => {
    if ((layer as Page).state === "applied") throw new Error("applied")
    for (const other of this.#live) if (this.#descends(other, layer as Page)) this.#drop(other)
  }

  #drop(page: Page): void {
    page.state = "closed"
    this.#live.delete(page)
  }

  /** A notebook keeps no history. */
  readonly pruned = Location(0)
  readonly prune = (): undefined => undefined
  readonly trim = (): undefined => undefined
  readonly spill = (): undefined => undefined
  readonly rewind = (): undefined => undefined
  /** Nor operations. */
  readonly appended = (): ReadonlyArray<Uint8Array> => [];
  *copy(): Generator<undefined, undefined, void> {}

  flush(): Generator<undefined, Flush, void> | undefined {
    return this.#covered === this.#tip ? undefined : this.#flushing(this.#tip)
  }

  *#flushing(captured: Page): Generator<undefined, Flush, void> {
    for (let i = 0; i < (this.#options.steps ?? 0); i++) yield undefined
    const page = this.#options.brokenFlush === true ? this.#tip : captured
    return {
      changes: [put(this.#home, page.target.end, page.contents)],
      target: page.target,
      layers: 1,
      settled: () => {
        this.#covered = page
        for (const other of this.#live) if (this.#descends(page, other)) this.#live.delete(other)
      },
    }
  }
}

const job = (): SealStep => ({
  count: 1,
  input: new Uint8Array(4),
  inputOffsets: Uint32Array.of(0, 4),
  output: new Uint8Array(32),
  outputOffsets: Uint32Array.of(0),
})

const keyOf = ({ member, incarnation }: MemberHome): Uint8Array => Uint8Array.of(member, incarnation)

const put = (home: MemberHome, size: number, contents: Contents): Change => ({
  tag: "put",
  map: "meta",
  key: keyOf(home),
  value: encodeContents(size, contents),
})

const targetOf = (hasher: Hasher, size: number, contents: Contents) => ({
  root: root(hasher, size, contents),
  start: Location(0),
  end: Location(size),
})

/** Declares a notebook. */
export const notebook = (options: NotebookOptions = {}): MemberSpec<NotebookBatch, NotebookReader> => ({
  format: "notebook/1",
  canonical: false,
  initialTarget: (hasher) => targetOf(hasher, 1, new Map()),
  create: (home) => [put(home, 1, new Map())],
  restore: () => {
    throw new RangeError("a notebook is not copied")
  },
  decodeOperation: () => undefined,
  open: (home) => new Notebook(home, options),
})

/** Contents as one text, for comparison. */
export const textOf = (bytes: Uint8Array): string => bytesKey(bytes)

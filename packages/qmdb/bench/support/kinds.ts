/**
 * Every kind of database under the same load: so many writes a block, over a million operations.
 *
 * Terms: a *rewriting* kind is given new values for keys that it has, at random, after churn; any other is given keys or
 * values that it has never seen, which is all that it takes.
 *
 * Invariant: keys are 32 bytes and values too, in every kind, so that blocks of two kinds differ in nothing else.
 */
import type { Context } from "@coppice/bench"
import { Bytes } from "@coppice/codec"
import { nodeHasher } from "@coppice/crypto/node"
import type { StorageShape } from "@coppice/storage"
import { type Layer, type Member, type MemberSpec, Qmdb } from "../../src/index.ts"
import { drive, flush, type Keys, keyArrays, openEnvironment, openMember, picks, valueOf } from "./chain.ts"

/** A kind of database by the name that figures give it. */
export interface Kind<B, R> {
  readonly name: string
  readonly spec: MemberSpec<B, R>
  readonly write: (batch: B, key: Uint8Array, value: Uint8Array) => void
  readonly rewrites: boolean
}

const options = { key: Bytes(32), value: Bytes(32) }

interface Puts {
  readonly put: (key: Uint8Array, value: Uint8Array) => void
}

const rewriting = <B extends Puts, R>(name: string, spec: MemberSpec<B, R>): Kind<B, R> => ({
  name,
  spec,
  write: (batch, key, value) => batch.put(key, value),
  rewrites: true,
})

interface Sets {
  readonly set: (key: Uint8Array, value: Uint8Array) => void
}

const setting = <B extends Sets, R>(name: string, spec: MemberSpec<B, R>): Kind<B, R> => ({
  name,
  spec,
  write: (batch, key, value) => batch.set(key, value),
  rewrites: false,
})

interface Appends {
  readonly append: (value: Uint8Array) => unknown
}

const appending = <B extends Appends, R>(name: string, spec: MemberSpec<B, R>): Kind<B, R> => ({
  name,
  spec,
  write: (batch, key) => void batch.append(key),
  rewrites: false,
})

/** The kinds, by what the code calls them. */
export const kinds = {
  any: rewriting("any", Qmdb.any(options)),
  ordered: rewriting("ordered", Qmdb.any({ ...options, ordered: true })),
  current: rewriting("current", Qmdb.current(options)),
  currentOrdered: rewriting("current ordered", Qmdb.current({ ...options, ordered: true })),
  immutable: setting("immutable", Qmdb.immutable(options)),
  keyless: appending("keyless", Qmdb.keyless(options)),
  compactImmutable: setting("compact immutable", Qmdb.compactImmutable(options)),
  compactKeyless: appending("compact keyless", Qmdb.compactKeyless(options)),
}

const LOAD_WRITES = 32_768
const CHURN_BLOCKS = 15

/** A database on LMDB of one kind, and the keys that its blocks write. */
export class Running<B, R> {
  readonly kind: Kind<B, R>
  readonly keys: Keys
  readonly storage: StorageShape
  readonly database: Member<B, R>
  readonly close: () => Promise<void>
  private readonly pick = picks(1)
  private targets: ReadonlyArray<Uint8Array> = []
  /** Keys that have been written. */
  private written = 0

  private constructor(
    kind: Kind<B, R>,
    keys: Keys,
    { storage, close }: { storage: StorageShape; close: () => Promise<void> },
    database: Member<B, R>,
  ) {
    this.kind = kind
    this.keys = keys
    this.storage = storage
    this.database = database
    this.close = close
  }

  /** A fresh database with the first `count` keys; a kind that rewrites has churned. */
  static async start<B, R>(context: Context, kind: Kind<B, R>, keys: Keys, count: number): Promise<Running<B, R>> {
    const opened = await openEnvironment(context.directory())
    const running = new Running(kind, keys, opened, await openMember(opened.storage, true, kind.spec))
    context.note(`loading ${count} keys: ${kind.name}`)
    await running.load(count)
    return running
  }

  private async load(count: number): Promise<void> {
    while (this.written < count) {
      const to = Math.min(count, this.written + LOAD_WRITES)
      this.targets = this.keys.range(this.written, to)
      this.written = to
      this.apply(this.execute(0))
      await this.flush()
    }
  }

  /** Blocks of random updates, where the kind rewrites: log, floor and free pages become those of a chain that has run. */
  async churn(blocks = CHURN_BLOCKS, writes = LOAD_WRITES): Promise<void> {
    if (!this.kind.rewrites) return
    for (let round = 0; round < blocks; round++) {
      this.choose(writes)
      this.apply(this.execute(round))
      await this.flush()
    }
  }

  /** Chooses what the next block writes. */
  choose(writes: number): void {
    if (this.targets.length !== writes) this.targets = keyArrays(writes)
    const { pick } = this
    this.keys.fill(this.targets, this.kind.rewrites ? () => pick(this.written) : () => this.written++)
  }

  /** Executes and seals a block over a layer, the tip when none is given. */
  execute(round: number, parent: Layer = this.database.tip): Layer {
    const { kind, database } = this
    const batch = database.openBatch(parent)
    const value = valueOf(round)
    for (const key of this.targets) kind.write(batch, key, value)
    return drive(database.seal(batch), nodeHasher.run)
  }

  apply(layer: Layer): void {
    this.database.apply(layer)
  }

  flush(): Promise<void> {
    return flush(this.database, this.storage)
  }
}

/** A two-member application and the few steps that set tests repeat. */
import { Bytes, Struct, Text, U64 } from "@coppice/codec"
import { type Anchor, Height, Round } from "@coppice/consensus"
import { type Hasher, nobleHasher } from "@coppice/crypto"
import { Qmdb } from "@coppice/qmdb"
import type { StorageShape } from "@coppice/storage"
import { Effect } from "effect"
import { Application, type Batches, type DatabaseSet, openDatabaseSet, type SealedSet } from "../../src/index.ts"
import { type NotebookOptions, notebook } from "./notebook.ts"

export const CHAIN_ID = "test-chain"

/** One QMDB member and one notebook, so that what is tested holds for members of different kinds. */
export const databases = (options: NotebookOptions = {}) => ({
  balances: Qmdb.any({ key: Bytes(4), value: U64 }),
  notes: notebook(options),
})

export type TestDatabases = ReturnType<typeof databases>

export const application = (options: NotebookOptions = {}, name = "test") =>
  Application.make({
    name,
    databases: databases(options),
    transaction: Struct({ note: Text(32) }),
    execute: ({ notes }, { note }) => notes.put(note, note),
  })

export interface OpenOptions {
  readonly notebook?: NotebookOptions
  readonly name?: string
  readonly chainId?: string
  readonly hasher?: Hasher
  readonly pendingAcksMax?: number
  readonly rewindHeights?: number
}

export const openSet = (storage: StorageShape, options: OpenOptions = {}) =>
  openDatabaseSet({
    application: application(options.notebook, options.name),
    chainId: options.chainId ?? CHAIN_ID,
    hasher: options.hasher ?? nobleHasher,
    storage,
    pendingAcksMax: options.pendingAcksMax ?? 3,
    ...(options.rewindHeights === undefined ? {} : { rewindHeights: options.rewindHeights }),
  })

/** The key of an account. */
export const account = (n: number): Uint8Array => Uint8Array.of(0, 0, 0, n)

/** A made-up anchor of a height; `branch` tells siblings apart. */
export const anchorAt = (height: number, branch = 0): Anchor => ({
  height: Height(height),
  round: Round(0, height),
  digest: new Uint8Array(32).fill(height * 16 + branch),
})

/** Writes what block `height` of a branch writes: every member, and keys that all blocks share. */
export const write = (batches: Batches<TestDatabases>, height: number, branch = 0): void => {
  batches.balances.put(account(0), BigInt(height * 1000 + branch))
  batches.balances.put(account(height), BigInt(branch))
  batches.notes.put("newest", `${height}/${branch}`)
  batches.notes.put(`block ${height}`, `${branch}`)
}

/** Seals a child of a state. */
export const child = Effect.fnUntraced(function* (
  set: DatabaseSet<TestDatabases>,
  parent: SealedSet<TestDatabases>,
  height: number,
  branch = 0,
) {
  const batches = set.openBatches(parent)
  write(batches, height, branch)
  return yield* set.seal(batches)
})

/** Seals and applies the next block. */
export const advance = Effect.fnUntraced(function* (set: DatabaseSet<TestDatabases>, branch = 0) {
  const height = set.anchor.height + 1
  const sealed = yield* child(set, set.tip, height, branch)
  set.apply(sealed, anchorAt(height, branch))
  return sealed
})

/** What a reader sees at the tip of a chain on which every block was of branch 0. */
export const observe = (set: DatabaseSet<TestDatabases>) =>
  set.use("read", ({ balances, notes }, anchor) => ({
    height: anchor.height as number,
    balance: balances.get(account(0)),
    newest: notes.get("newest"),
    last: notes.get(`block ${anchor.height}`),
    next: notes.get(`block ${anchor.height + 1}`),
  }))

/** What `observe` must see at a height. */
export const expected = (height: number) =>
  height === 0
    ? { height, balance: undefined, newest: undefined, last: undefined, next: undefined }
    : { height, balance: BigInt(height * 1000), newest: `${height}/0`, last: "0", next: undefined }

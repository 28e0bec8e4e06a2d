/**
 * `Application.make`: a whole application from one transition.
 *
 *   propose   begin, then execute each candidate; a rejected one is reverted and left out
 *   verify    begin, then execute each transaction; one rejection makes the block invalid
 *   apply     as verify
 *
 * Terms: *begin* runs once per block before its transactions; at height 1 it is where the initial state is written. A
 * *rejection* is the transition's own verdict that a transaction cannot happen in this state.
 *
 * Invariant: the three hooks run the same code on the same order of transactions, so a proposal verifies (INV-40). A
 * transaction never enters a block while an un-finalized ancestor holds it. Whatever bytes a transaction carries, it is
 * executed or rejected; no key or value in it can stop a node. When not all un-finalized ancestors can be
 * seen (a node that just started, a long stall), proposals are empty until a block is final.
 */
import type { Codec } from "@coppice/codec"
import { type Ancestry, type Anchor, type ConsensusContext, Height } from "@coppice/consensus"
import { type Hasher, nobleHasher } from "@coppice/crypto"
import { BatchTooLarge, KeyAlreadySet, KeyTooLong, OutsideType, ValueTooLong } from "@coppice/qmdb"
import { Effect } from "effect"
import type { Application, BatchOf, Hook, HookTools, Proposal } from "./application.ts"
import type { Batches, Databases, Readers, SealedSet } from "./database-set.ts"
import { runHook } from "./hooks.ts"
import { ANCESTRY_BLOCKS_MAX, BLOCK_BODY_BYTES_MAX, BLOCK_TRANSACTIONS_MAX } from "./limits.ts"
import type { Candidate, InputProvider } from "./mempool.ts"
import { runInSlices } from "./slices.ts"
import { type BodyDraft, type StandardBlock, type StandardBlocks, standardBlocks } from "./standard-block.ts"
import { memberNames } from "./targets.ts"

/** The verdict that a transaction cannot happen in the state it found. */
export class Rejection {
  readonly reason: string
  constructor(reason: string) {
    this.reason = reason
  }
}

/** Rejects a transaction: `return reject("short balance")`. */
export const reject = (reason: string): Rejection => new Rejection(reason)

/** What a transition may know of the block it runs in. */
export interface BlockInfo {
  readonly height: Height
  readonly context: ConsensusContext
}

/** What a batch needs so that one transaction of many can be undone. */
export interface Revertible {
  readonly mark: () => number
  readonly revert: (mark: number) => void
}

/** Databases whose batches can undo one transaction. */
export type RevertibleDatabases<M extends Databases> = {
  readonly [K in keyof M]: BatchOf<M[K]> extends Revertible ? M[K] : never
}

/** An application as one transition. */
export interface ApplicationOptions<Tx, M extends Databases> {
  /** Short name: `[a-z][a-z0-9-]*`. */
  readonly name: string
  /** The named databases. Their declared order is part of the block format. */
  readonly databases: M
  readonly transaction: Codec<Tx>
  /**
   * Executes one transaction, or returns `reject(reason)`. Synchronous and deterministic: no clock, no chance, all state
   * in the batches. A key, value or batch that its database refuses is a rejection, and so is a key that is set again where
   * keys are set once; anything else it throws stops the node.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: a transition that rejects nothing needs no return statement
  readonly execute: (batches: Batches<M>, transaction: Tx, block: BlockInfo) => void | Rejection
  /** Runs before the transactions of every block. What it throws stops the node. */
  readonly begin?: (batches: Batches<M>, block: BlockInfo) => void
  /**
   * Runs after a block is durable, in height order, at least once across crashes. Readers see the newest applied block, which
   * is `block` or a later one: `anchor()` says which; see `Application.finalized`.
   */
  readonly finalized?: (block: StandardBlock<Tx, M>, readers: Readers<M>, anchor: () => Anchor) => Hook<void>
  /** Where proposals get transactions from; without one they are empty. One per node. */
  readonly inputs?: InputProvider<Tx>
  /**
   * What the chain begins with beside empty databases, as bytes: what `begin` writes at height 1, say. The first block
   * commits to it, so another beginning is another chain; nothing when not given.
   */
  readonly origin?: Uint8Array
  /** Bounds of a block. Part of the chain: all nodes have the same. */
  readonly limits?: { readonly bodyBytesMax?: number; readonly transactionsMax?: number }
  /** Hashes blocks; the portable one when not given. */
  readonly hasher?: Hasher
}

/** An application made of one transition, with standard blocks. */
export interface StandardApplication<Tx, M extends Databases> extends Application<StandardBlock<Tx, M>, M> {
  readonly transaction: Codec<Tx>
  readonly blocks: StandardBlocks<Tx, M>
  /** The same application with another source of transactions: one per node. */
  readonly withInputs: (inputs: InputProvider<Tx>) => StandardApplication<Tx, M>
}

/** What a database refuses to hold. A transaction may bring any bytes, so these reject it and stop nothing. */
const UNWRITABLE = [KeyTooLong, ValueTooLong, OutsideType, BatchTooLarge, KeyAlreadySet] as const

class Transition<Tx, M extends Databases> {
  readonly #options: ApplicationOptions<Tx, M>
  readonly #names: ReadonlyArray<keyof M & string>

  constructor(options: ApplicationOptions<Tx, M>, names: ReadonlyArray<keyof M & string>) {
    this.#options = options
    this.#names = names
  }

  #execute(batches: Batches<M>, transaction: Tx, info: BlockInfo): Rejection | undefined {
    try {
      return this.#options.execute(batches, transaction, info) ?? undefined
    } catch (error) {
      if (UNWRITABLE.some((kind) => error instanceof kind)) return reject((error as Error).message)
      throw error
    }
  }

  /** Executes a block's transactions: true unless one is rejected. */
  *judge(batches: Batches<M>, block: StandardBlock<Tx, M>): Generator<undefined, boolean, void> {
    const info = { height: block.height, context: block.context }
    this.#options.begin?.(batches, info)
    for (const transaction of block.transactions) {
      if (this.#execute(batches, transaction, info) !== undefined) return false
      yield undefined
    }
    return true
  }

  /** Executes candidates as long as the body has room, and adds those that are not rejected to it. */
  *fill(
    draft: BodyDraft<Tx>,
    batches: Batches<M>,
    info: BlockInfo,
    candidates: ReadonlyArray<Candidate<Tx>>,
  ): Generator<undefined, void, void> {
    const open = this.#names.map((name) => batches[name] as Revertible)
    this.#options.begin?.(batches, info)
    for (const { id, transaction } of candidates) {
      const encoded = draft.fit(transaction)
      if (encoded === undefined) break
      const marks = open.map((batch) => batch.mark())
      const rejection = this.#execute(batches, transaction, info)
      if (rejection === undefined) draft.push(transaction, encoded)
      else {
        for (const [i, batch] of open.entries()) batch.revert(marks[i]!)
        this.#options.inputs?.rejected(id, rejection.reason)
      }
      yield undefined
    }
  }
}

/** Names of the transactions in blocks, computed once per block and provider. */
class BlockIds<Tx, M extends Databases> {
  readonly #inputs: InputProvider<Tx>
  readonly #known = new WeakMap<object, ReadonlyArray<string>>()

  constructor(inputs: InputProvider<Tx>) {
    this.#inputs = inputs
  }

  *of(block: StandardBlock<Tx, M>): Generator<undefined, ReadonlyArray<string>, void> {
    const known = this.#known.get(block)
    if (known !== undefined) return known
    const ids: string[] = []
    for (const transaction of block.transactions) {
      ids.push(this.#inputs.idOf(transaction))
      yield undefined
    }
    this.#known.set(block, ids)
    return ids
  }
}

/**
 * Makes an application from one transition.
 *
 * Errors: RangeError for names and limits outside their bounds.
 *
 * @example
 * const Counter = Application.make({
 *   name: "counter",
 *   databases: { counts: Qmdb.any({ key: Bytes(32), value: U64 }) },
 *   transaction: Struct({ key: Bytes(32), nonce: U64 }),
 *   execute: ({ counts }, tx) => counts.put(tx.key, (counts.get(tx.key) ?? 0n) + 1n),
 * })
 */
export const make = <Tx, const M extends Databases>(
  options: ApplicationOptions<Tx, M> & { readonly databases: RevertibleDatabases<M> },
): StandardApplication<Tx, M> => {
  const { databases, transaction, hasher = nobleHasher, limits = {} } = options
  const { bodyBytesMax = BLOCK_BODY_BYTES_MAX, transactionsMax = BLOCK_TRANSACTIONS_MAX } = limits
  return makeOver(options, standardBlocks<Tx, M>({ databases, transaction, hasher, bodyBytesMax, transactionsMax }))
}

/** Makes an application whose blocks are made, read and written by `blocks`, also with another source of transactions. */
const makeOver = <Tx, const M extends Databases>(
  options: ApplicationOptions<Tx, M> & { readonly databases: RevertibleDatabases<M> },
  blocks: StandardBlocks<Tx, M>,
): StandardApplication<Tx, M> => {
  type B = StandardBlock<Tx, M>
  const { inputs, transaction, hasher = nobleHasher } = options
  const names = memberNames<M>(options.databases)
  const transition = new Transition<Tx, M>(options, names)
  const ids = inputs === undefined ? undefined : new BlockIds<Tx, M>(inputs)

  /** The un-finalized ancestors; undefined when they are too many, or not all can be seen. */
  const unfinalized = Effect.fnUntraced(function* (parent: B, ancestry: Ancestry<B>, above: number) {
    const found: B[] = []
    for (let block: B | undefined = parent; block !== undefined && found.length < ANCESTRY_BLOCKS_MAX; ) {
      if (block.height <= above) return found
      found.push(block)
      if (block.height === above + 1) return found
      block = yield* ancestry.next
    }
    return undefined
  })

  const candidates = Effect.fnUntraced(function* (
    parent: B,
    ancestry: Ancestry<B>,
    room: BodyDraft<Tx>["room"],
    durableHeight: number,
  ) {
    if (inputs === undefined || inputs.waiting === 0) return []
    // A process that starts with every block acknowledged has told its inputs of none, and may have forgotten old ones.
    const ancestors = yield* unfinalized(parent, ancestry, inputs.finalizedHeight ?? durableHeight)
    if (ancestors === undefined) return []
    const excluded = new Set<string>()
    for (const block of ancestors) {
      for (const id of yield* runInSlices<ReadonlyArray<string>, never>(ids!.of(block), hasher)) excluded.add(id)
    }
    return inputs.take(room.bytes, room.transactions, excluded)
  })

  const propose = Effect.fnUntraced(function* (
    context: ConsensusContext,
    ancestry: Ancestry<B>,
    batches: Batches<M>,
    tools: HookTools<M>,
  ): Effect.fn.Return<Proposal<B, M> | undefined, unknown> {
    const parent = yield* ancestry.next
    if (parent === undefined) return undefined
    const info = { height: Height(parent.height + 1), context }
    const draft = blocks.draft()
    const offered = yield* candidates(parent, ancestry, draft.room, tools.durableHeight ?? 0)
    yield* runInSlices<void, unknown>(transition.fill(draft, batches, info, offered), hasher)
    const sealed = yield* tools.seal(batches)
    return { block: blocks.finish({ ...info, targets: sealed.targets }, draft), sealed }
  })

  const judge = Effect.fnUntraced(function* (
    block: B,
    batches: Batches<M>,
    tools: HookTools<M>,
  ): Effect.fn.Return<SealedSet<M> | undefined, unknown> {
    const valid = yield* runInSlices<boolean, unknown>(transition.judge(batches, block), hasher)
    return valid ? yield* tools.seal(batches) : undefined
  })

  const finalized = Effect.fnUntraced(function* (
    block: B,
    readers: Readers<M>,
    anchor: () => Anchor,
  ): Effect.fn.Return<void, unknown> {
    if (inputs !== undefined) {
      inputs.finalized(block.height, yield* runInSlices<ReadonlyArray<string>, never>(ids!.of(block), hasher))
    }
    if (options.finalized !== undefined) yield* runHook(() => options.finalized!(block, readers, anchor))
  })

  return {
    name: options.name,
    databases: options.databases,
    transaction,
    blocks,
    codec: blocks.codec,
    genesis: (targets) => blocks.genesis(targets, options.origin),
    syncTargets: (block) => block.targets,
    propose,
    verify: (_context, ancestry, batches, tools) =>
      Effect.flatMap(ancestry.next, (block) => (block === undefined ? Effect.never : judge(block, batches, tools))),
    apply: judge,
    finalized,
    withInputs: (provider) => makeOver<Tx, M>({ ...options, inputs: provider }, blocks),
  }
}

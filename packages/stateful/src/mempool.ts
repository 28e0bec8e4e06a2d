/**
 * A bounded pool of transactions that wait for a block.
 *
 *   submit --> waiting --- take ---> (still waiting) --- finalized --> remembered     later submissions: duplicate
 *                      --- rejected, too often -----------------------> forgotten     may be submitted again
 *
 * Terms: an *id* is the SHA-256 of a transaction's canonical bytes, as a map key: equal bytes are one transaction, so two
 * that should both happen must differ, by a nonce for instance. A *sender* groups transactions whose order matters.
 *
 * Invariant: counts and bytes never exceed their limits: a full pool refuses, it never drops what it accepted to make
 * room. Transactions of one sender are taken in the order of their submission, whatever their priorities. No clock and no
 * chance: equal calls give equal pools.
 */
import { bytesKey, type Codec, encode } from "@coppice/codec"
import type { Height } from "@coppice/consensus"
import { type Hasher, nobleHasher } from "@coppice/crypto"
import {
  MEMPOOL_BYTES_MAX,
  MEMPOOL_REJECTIONS_MAX,
  MEMPOOL_REMEMBERED_MAX,
  MEMPOOL_SENDER_TRANSACTIONS_MAX,
  MEMPOOL_TRANSACTION_BYTES_MAX,
  MEMPOOL_TRANSACTIONS_MAX,
} from "./limits.ts"

/** A transaction offered to a block. */
export interface Candidate<Tx> {
  readonly id: string
  readonly transaction: Tx
}

/** Where proposals get their transactions from. Synchronous; every method may be called again after an interruption. */
export interface InputProvider<Tx> {
  /** Transactions that wait. */
  readonly waiting: number
  /** The newest height given to `finalized`; undefined before the first. */
  readonly finalizedHeight: Height | undefined
  /** Names a transaction. Pure; equal for equal bytes. */
  readonly idOf: (transaction: Tx) => string
  /** The next transactions that fit, best first, without the excluded ones. Removes nothing. Linear, or a sort by priority. */
  readonly take: (bytesMax: number, countMax: number, excluded: ReadonlySet<string>) => ReadonlyArray<Candidate<Tx>>
  /** A proposal could not execute this one on its parent's state. */
  readonly rejected: (id: string, reason: string) => void
  /**
   * These are final, and so is all below. In height order; a height may come again after a restart. A node that starts
   * may call it with its durable height and no ids, so that its first proposals need not be empty.
   */
  readonly finalized: (height: Height, ids: ReadonlyArray<string>) => void
}

/** Bounds of a mempool. */
export interface MempoolLimits {
  readonly transactionsMax: number
  readonly bytesMax: number
  readonly transactionBytesMax: number
  readonly senderTransactionsMax: number
  /** Rejections after which a transaction is forgotten: one may be due to a fork that loses. */
  readonly rejectionsMax: number
  /** Finalized ids kept in order to refuse them. */
  readonly rememberedMax: number
}

/** How a mempool is made. */
export interface MempoolOptions<Tx> {
  readonly transaction: Codec<Tx>
  /** Groups transactions that must keep their order; when not given, each stands alone and no limit per sender applies. */
  readonly sender?: (transaction: Tx) => string
  /** Higher comes first; equal ones in order of submission. Finite. All equal when not given. */
  readonly priority?: (transaction: Tx) => number
  readonly hasher?: Hasher
  readonly limits?: Partial<MempoolLimits>
}

/** What became of a submission. Only `accepted` changed the pool. */
export type Admission =
  | { readonly tag: "accepted"; readonly id: string }
  | { readonly tag: "duplicate"; readonly id: string; readonly of: "waiting" | "finalized" }
  | { readonly tag: "full"; readonly limit: "transactions" | "bytes" | "sender"; readonly allowed: number }
  | { readonly tag: "too large"; readonly bytes: number; readonly allowed: number }

interface Entry<Tx> extends Candidate<Tx> {
  readonly bytes: number
  readonly sender: string | undefined
  readonly priority: number
  rejections: number
}

const DEFAULT_LIMITS: MempoolLimits = {
  transactionsMax: MEMPOOL_TRANSACTIONS_MAX,
  bytesMax: MEMPOOL_BYTES_MAX,
  transactionBytesMax: MEMPOOL_TRANSACTION_BYTES_MAX,
  senderTransactionsMax: MEMPOOL_SENDER_TRANSACTIONS_MAX,
  rejectionsMax: MEMPOOL_REJECTIONS_MAX,
  rememberedMax: MEMPOOL_REMEMBERED_MAX,
}

/** See the head of this file. */
export class Mempool<Tx> implements InputProvider<Tx> {
  readonly limits: MempoolLimits
  readonly #options: MempoolOptions<Tx>
  readonly #hasher: Hasher
  /** In order of submission. */
  readonly #entries = new Map<string, Entry<Tx>>()
  /** Waiting ids of each sender, in order of submission. */
  readonly #senders = new Map<string, Set<string>>()
  /** In order of finalization. */
  readonly #remembered = new Set<string>()
  #bytes = 0
  #finalizedHeight: Height | undefined

  constructor(options: MempoolOptions<Tx>) {
    this.#options = options
    this.#hasher = options.hasher ?? nobleHasher
    this.limits = { ...DEFAULT_LIMITS, ...options.limits }
  }

  get waiting(): number {
    return this.#entries.size
  }
  /** Bytes of the transactions that wait. */
  get bytes(): number {
    return this.#bytes
  }
  get finalizedHeight(): Height | undefined {
    return this.#finalizedHeight
  }

  readonly idOf = (transaction: Tx): string => this.#idOfBytes(encode(this.#options.transaction, transaction))

  #idOfBytes(bytes: Uint8Array): string {
    return bytesKey(this.#hasher.hash(bytes))
  }

  /** True while a transaction waits. */
  readonly has = (id: string): boolean => this.#entries.has(id)

  /** Transactions of one sender that wait. */
  readonly waitingOf = (sender: string): number => this.#senders.get(sender)?.size ?? 0

  /** The transactions of one sender that wait, in order of submission. */
  readonly waitingFrom = (sender: string): ReadonlyArray<Candidate<Tx>> =>
    Array.from(this.#senders.get(sender) ?? [], (id) => this.#entries.get(id)!)

  /** Offers a transaction. Says nothing about whether it can be executed. Throws RangeError for a value outside its type. */
  readonly submit = (transaction: Tx): Admission => {
    const { transactionsMax, bytesMax, transactionBytesMax, senderTransactionsMax } = this.limits
    const encoded = encode(this.#options.transaction, transaction)
    const bytes = encoded.length
    if (bytes > transactionBytesMax) return { tag: "too large", bytes, allowed: transactionBytesMax }
    const id = this.#idOfBytes(encoded)
    if (this.#entries.has(id)) return { tag: "duplicate", id, of: "waiting" }
    if (this.#remembered.has(id)) return { tag: "duplicate", id, of: "finalized" }
    if (this.#entries.size >= transactionsMax) return { tag: "full", limit: "transactions", allowed: transactionsMax }
    if (this.#bytes + bytes > bytesMax) return { tag: "full", limit: "bytes", allowed: bytesMax }
    const sender = this.#options.sender?.(transaction)
    if (sender !== undefined && this.waitingOf(sender) >= senderTransactionsMax) {
      return { tag: "full", limit: "sender", allowed: senderTransactionsMax }
    }
    const priority = this.#options.priority?.(transaction) ?? 0
    this.#entries.set(id, { id, transaction, bytes, sender, priority, rejections: 0 })
    this.#bytes += bytes
    if (sender !== undefined) {
      const ids = this.#senders.get(sender)
      if (ids === undefined) this.#senders.set(sender, new Set([id]))
      else ids.add(id)
    }
    return { tag: "accepted", id }
  }

  readonly take = (
    bytesMax: number,
    countMax: number,
    excluded: ReadonlySet<string> = new Set(),
  ): ReadonlyArray<Candidate<Tx>> => {
    const taken: Entry<Tx>[] = []
    const held = new Set<string>()
    let bytesLeft = bytesMax
    for (const entry of this.#inOrder()) {
      if (taken.length >= countMax) break
      if (excluded.has(entry.id) || (entry.sender !== undefined && held.has(entry.sender))) continue
      if (entry.bytes <= bytesLeft) {
        bytesLeft -= entry.bytes
        taken.push(entry)
      } else if (entry.sender !== undefined) held.add(entry.sender)
    }
    return taken.map(({ id, transaction }) => ({ id, transaction }))
  }

  /**
   * Best first. An entry never ranks above an earlier one of its sender: its rank is the least priority of those up to it.
   */
  #inOrder(): Iterable<Entry<Tx>> {
    if (this.#options.priority === undefined) return this.#entries.values()
    const least = new Map<string, number>()
    const ranked = [...this.#entries.values()].map((entry) => {
      if (entry.sender === undefined) return { entry, rank: entry.priority }
      const rank = Math.min(entry.priority, least.get(entry.sender) ?? entry.priority)
      least.set(entry.sender, rank)
      return { entry, rank }
    })
    return ranked.sort((a, b) => b.rank - a.rank).map(({ entry }) => entry)
  }

  readonly rejected = (id: string, _reason: string): void => {
    const entry = this.#entries.get(id)
    if (entry !== undefined && ++entry.rejections >= this.limits.rejectionsMax) this.remove(id)
  }

  /** Forgets a transaction that waits. It may be submitted again. */
  readonly remove = (id: string): void => {
    const entry = this.#entries.get(id)
    if (entry === undefined) return
    this.#entries.delete(id)
    this.#bytes -= entry.bytes
    if (entry.sender === undefined) return
    const ids = this.#senders.get(entry.sender)!
    ids.delete(id)
    if (ids.size === 0) this.#senders.delete(entry.sender)
  }

  readonly finalized = (height: Height, ids: ReadonlyArray<string>): void => {
    if (this.#finalizedHeight === undefined || height > this.#finalizedHeight) this.#finalizedHeight = height
    for (const id of ids) {
      this.remove(id)
      this.#remembered.add(id)
    }
    for (const id of this.#remembered) {
      if (this.#remembered.size <= this.limits.rememberedMax) break
      this.#remembered.delete(id)
    }
  }
}

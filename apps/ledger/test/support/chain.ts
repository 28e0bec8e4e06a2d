/**
 * A ledger chain without consensus: blocks are proposed, judged by a second set and applied on the spot.
 *
 *   submit to the mempool --> append --> proposed on one set, verified on another --> applied on both --> certified or not
 *
 * Invariant: every block that is appended was accepted by `verify`, on the state of its parent, with equal targets.
 */
import {
  type Ancestry,
  anchorOf,
  attestFinalization,
  type ConsensusContext,
  type Finalization,
  type Marshal,
  Round,
} from "@coppice/consensus"
import { assemble, createParticipants, type KeyPair, keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import { Location } from "@coppice/merkle"
import {
  bindSet,
  type DatabaseSet,
  type Hook,
  type HookTools,
  type Mempool,
  openDatabaseSet,
  runHook,
  SET_MAPS,
} from "@coppice/stateful"
import { makeMemoryDisk } from "@coppice/storage"
import { Effect } from "effect"
import {
  type Account,
  EMPTY_ACCOUNT,
  type Ledger,
  type LedgerBlock,
  type LedgerDatabases,
  type LedgerNode,
  type LedgerOptions,
  makeLedger,
  type Receipt,
  signTransfer,
  type Transfer,
  type TransferBody,
  transferNamespace,
} from "../../src/index.ts"

export const CHAIN = "ledger-test"

const keysFrom = (first: number, count: number): ReadonlyArray<KeyPair> =>
  Array.from({ length: count }, (_, i) => keyPairFromSeed(nodeEd25519, new Uint8Array(32).fill(first + i)))

/** Accounts; tests say which of them hold something at height 1. */
export const people = keysFrom(1, 4)
export const [alice, bob, carol, dave] = people as [KeyPair, KeyPair, KeyPair, KeyPair]

/** Four validators: three of them are a quorum. */
export const validators = keysFrom(101, 4)
export const participants = createParticipants(validators.map(({ publicKey }) => publicKey))

/** What `GET /chain` says of this chain, as far as a wallet looks. */
export const chainAnswer = {
  chain: CHAIN,
  validators: participants.keys.map((key) => Buffer.from(key).toString("hex")),
}

/** A signed transfer on this chain. */
export const transfer = (
  from: KeyPair,
  to: KeyPair,
  { amount = 1n, nonce = 0n, chain = CHAIN }: Partial<Pick<TransferBody, "amount" | "nonce">> & { chain?: string } = {},
): Transfer => signTransfer(nodeEd25519, from, transferNamespace(chain), { to: to.publicKey, amount, nonce })

/** A ledger where the first of `people` hold these balances. */
export const ledgerWith = (balances: ReadonlyArray<bigint>, options: Partial<LedgerOptions> = {}): Ledger =>
  makeLedger({
    chainId: CHAIN,
    allocations: balances.map((balance, i) => ({ address: people[i]!.publicKey, balance })),
    ed25519: nodeEd25519,
    hasher: nodeHasher,
    ...options,
  })

/** A certificate of a block by the validators with these indices. */
export const certify = (block: LedgerBlock, by: ReadonlyArray<number> = [0, 1, 2], chain = CHAIN): Finalization => {
  const { round, parent } = block.context
  const proposal = { round, parentView: parent.view, payload: block.digest }
  const attestations = by.map((i) => {
    const { secret, publicKey } = validators[i]!
    return attestFinalization(nodeEd25519, secret, participants.indexOf(publicKey)!, chain, proposal)
  })
  return { proposal, certificate: assemble(attestations, participants.n)! }
}

const tools = (set: DatabaseSet<LedgerDatabases>): HookTools<LedgerDatabases> => ({
  seal: set.seal,
  signal: new AbortController().signal,
})

const openSet = (ledger: Ledger) =>
  Effect.gen(function* () {
    const { application, chainId } = ledger
    const storage = yield* makeMemoryDisk({ chance: () => 0 }).open("ledger", SET_MAPS)
    return yield* openDatabaseSet<LedgerBlock, LedgerDatabases>({
      application,
      chainId,
      hasher: nodeHasher,
      storage,
      pendingAcksMax: 16,
    })
  })

const hook = <A>(result: Hook<A>): Effect.Effect<A> => Effect.orDie(runHook(() => result))

/** A chain that grows when told to. */
export class Chain {
  readonly ledger: Ledger
  readonly mempool: Mempool<Transfer>
  readonly blocks: Array<LedgerBlock>
  readonly finalizations = new Map<number, Finalization>()
  readonly #set: DatabaseSet<LedgerDatabases>
  readonly #judge: DatabaseSet<LedgerDatabases>

  constructor(ledger: Ledger, set: DatabaseSet<LedgerDatabases>, judge: DatabaseSet<LedgerDatabases>) {
    this.ledger = ledger
    this.mempool = ledger.mempool()
    this.blocks = [bindSet({ application: ledger.application, chainId: ledger.chainId, hasher: nodeHasher }).genesis]
    this.#set = set
    this.#judge = judge
  }

  get tip(): LedgerBlock {
    return this.blocks.at(-1)!
  }

  /** The ledger's API for this chain. Accepted transfers are handed to nobody. */
  get node(): LedgerNode {
    const marshal = {
      finalizedAt: (height: number) => Effect.sync(() => (height === 0 ? undefined : this.blocks[height])),
      finalizationAt: (height: number) => Effect.sync(() => this.finalizations.get(height)),
    } as unknown as Marshal<LedgerBlock>
    return { ledger: this.ledger, mempool: this.mempool, set: this.#set, marshal, gossip: () => {} }
  }

  readonly account = ({ publicKey }: KeyPair): Account =>
    this.#set.use("read", ({ accounts }) => accounts.get(publicKey) ?? EMPTY_ACCOUNT)

  /** A transfer as it was executed, and what it left; undefined when it was not, or is not kept. */
  readonly executed = (of: Transfer) =>
    this.#set.use("read", ({ transfers, receipts }) => {
      const found = transfers.get(this.ledger.idOf(of))
      return found && { ...found, left: receipts.get(Location(found.receipt))! }
    })

  /** All receipts that are kept, in order. */
  readonly receipts = (): ReadonlyArray<Receipt> =>
    this.#set.use("read", ({ receipts: { target, get } }) =>
      Array.from({ length: target.end - target.start }, (_, i) => get(Location(target.start + i)) ?? []).flat(),
    )

  /** Context of the next block. */
  get context(): ConsensusContext {
    const { digest, context, height } = this.tip
    const leader = validators[height % validators.length]!.publicKey
    return { round: Round(0, height + 1), leader, parent: { view: context.round.view, digest } }
  }

  #ancestry(first: ReadonlyArray<LedgerBlock>): Ancestry<LedgerBlock> {
    const walk = [...first, ...this.blocks.toReversed()].values()
    return { next: Effect.sync(() => walk.next().value) }
  }

  /**
   * The verdict on a candidate for the next block: a transfer is refused, or the header commits to another state than the
   * transfers lead to, or it is accepted and applied to the judge.
   */
  judge(candidate: LedgerBlock): Effect.Effect<"refused" | "another state" | "accepted"> {
    const { application } = this.ledger
    const set = this.#judge
    return Effect.gen({ self: this }, function* () {
      const batches = set.openBatches(set.tip)
      const sealed = yield* hook(
        application.verify(candidate.context, this.#ancestry([candidate]), batches, tools(set)),
      )
      set.closeBatches(batches)
      if (sealed === undefined) return "refused"
      if (set.matches(sealed, candidate.targets)) {
        set.apply(sealed, anchorOf(candidate))
        return "accepted"
      }
      set.close(sealed)
      return "another state"
    })
  }

  /** Builds a block from what waits. */
  #propose() {
    const set = this.#set
    return Effect.gen({ self: this }, function* () {
      const application = this.ledger.application.withInputs(this.mempool)
      const batches = set.openBatches(set.tip)
      const proposal = yield* hook(application.propose(this.context, this.#ancestry([]), batches, tools(set)))
      if (proposal === undefined) throw new Error("the application declined to propose")
      return proposal
    })
  }

  /** The block that would come next with these transfers. */
  readonly propose = (...transfers: ReadonlyArray<Transfer>): Effect.Effect<LedgerBlock> =>
    Effect.suspend(() => {
      for (const each of transfers) this.mempool.submit(each)
      return Effect.map(this.#propose(), ({ block, sealed }) => {
        this.#set.close(sealed)
        return block
      })
    })

  /** Builds a block from what waits, has it judged, and makes it the tip. */
  append({ certified = true }: { readonly certified?: boolean } = {}): Effect.Effect<LedgerBlock> {
    const set = this.#set
    return Effect.gen({ self: this }, function* () {
      const { block, sealed } = yield* this.#propose()
      const verdict = yield* this.judge(block)
      if (verdict !== "accepted") throw new Error(`block ${block.height} was proposed and is judged: ${verdict}`)
      set.apply(sealed, anchorOf(block))
      this.blocks.push(block)
      if (certified) this.finalizations.set(block.height, certify(block))
      this.mempool.finalized(block.height, block.transactions.map(this.mempool.idOf))
      return block
    })
  }

  /** Submits to the mempool alone, as gossip does, and appends a block. */
  readonly execute = (...transfers: ReadonlyArray<Transfer>): Effect.Effect<LedgerBlock> =>
    Effect.suspend(() => {
      for (const each of transfers) this.mempool.submit(each)
      return this.append()
    })
}

/** A chain at genesis. */
export const openChain = Effect.fnUntraced(function* (ledger: Ledger) {
  return new Chain(ledger, yield* Effect.orDie(openSet(ledger)), yield* Effect.orDie(openSet(ledger)))
})

/**
 * Worlds for the laws of applications: an application as several nodes run it, and what they do with it.
 *
 *   subject --make(seed)--> world --node()--> node, node, ...        each with an instance of its own, and databases in memory
 *
 * Terms: a *node* here is an application over an open set, without consensus: it proposes, judges and applies where a law
 * tells it to. A *tip* is a block with the state after it on one node.
 *
 * Invariant: a node closes every fork it opens, but for the states it hands out.
 */
import type { Ancestry, Block, ConsensusContext } from "@coppice/consensus"
import { anchorOf, Round, View } from "@coppice/consensus"
import { type Hasher, nobleHasher } from "@coppice/crypto"
import {
  type Application,
  type Batches,
  bindSet,
  type DatabaseSet,
  type Databases,
  type Hook,
  type HookTools,
  openDatabaseSet,
  type Proposal,
  SET_MAPS,
  type SealedSet,
  type StandardApplication,
  type StandardBlock,
} from "@coppice/stateful"
import {
  type DrawTransactions,
  drawnInputs,
  onFork,
  runHook,
  type TrackedSet,
  trackForks,
} from "@coppice/stateful/diagnosis"
import { makeMemoryDisk } from "@coppice/storage"
import { Effect } from "effect"
import { chanceOf, claim, type Law, type Subject } from "../law.ts"
import { type Liar, standardLiar } from "./liar.ts"

/** An application, whatever its blocks and databases are. */
export type AnyApplication = Application<Block, Databases>

/** State of any application. */
export type AnySealed = SealedSet<Databases>

/** What the laws of an application run in. */
export interface ApplicationWorld {
  /** Where the subject has the power "liar". */
  readonly liar: Liar<Block, Databases> | undefined
  /** An instance of the application as another node has it: with nothing in memory that a call before left there. */
  readonly instance: () => AnyApplication
  readonly chainId: string
  readonly hasher: Hasher
}

/** `liar`: bad blocks can be made of good ones. */
export type ApplicationPower = "liar"

/** An application under test. */
export type ApplicationSubject = Subject<ApplicationWorld, ApplicationPower>

/** One law of applications. */
export type ApplicationLaw = Law<ApplicationWorld, ApplicationPower>

/** How an application is put to the laws. */
export interface ApplicationSubjectOptions<B extends Block, M extends Databases> {
  /**
   * Makes an instance whose proposals draw their transactions by `chance`, a stream of numbers in [0, 1). The laws need
   * blocks to look at: it never declines to propose.
   */
  readonly make: (chance: () => number) => Application<B, M>
  /** Makes bad blocks, by another stream; without it no law tries one. */
  readonly liar?: (chance: () => number) => Liar<B, M>
  /** Seeds that each law tries; 3 when not given. */
  readonly seeds?: number
  readonly hasher?: Hasher
  readonly chainId?: string
}

/** An application as a subject of the laws. */
export const applicationSubject = <B extends Block, M extends Databases>({
  make,
  liar,
  seeds = 3,
  hasher = nobleHasher,
  chainId = "laws",
}: ApplicationSubjectOptions<B, M>): ApplicationSubject => ({
  make: (seed) =>
    Effect.sync(() => {
      let instances = 0
      // The laws use no more of an application, and of a liar, than what all of them have.
      const instance = () => make(chanceOf(seed * 64 + instances++)) as unknown as AnyApplication
      const lying = liar?.(chanceOf(seed * 64 + 63)) as unknown as Liar<Block, Databases> | undefined
      return { instance, liar: lying, chainId, hasher }
    }),
  powers: liar === undefined ? [] : ["liar"],
  seeds,
})

/** How an application made of one transition is put to the laws. */
export interface TransitionOptions<Tx, M extends Databases>
  extends Omit<ApplicationSubjectOptions<StandardBlock<Tx, M>, M>, "make" | "liar"> {
  /** Makes an instance. What holds state between calls must be made here, as a node makes it when it starts. */
  readonly application: () => StandardApplication<Tx, M>
  /** Transactions offered to proposals. Some may be such that they are rejected. */
  readonly transactions: DrawTransactions<Tx>
}

/** An application made by `Application.make` as a subject of the laws. */
export const transitionSubject = <Tx, M extends Databases>({
  application,
  transactions,
  ...rest
}: TransitionOptions<Tx, M>): ApplicationSubject =>
  applicationSubject({
    ...rest,
    make: (chance) => application().withInputs(drawnInputs(transactions, chance)),
    liar: (chance) => standardLiar(application(), transactions, chance),
  })

/** A block with the state after it, on one node. */
export interface Tip {
  readonly block: Block
  readonly sealed: AnySealed
}

/** Heights that a law's chain grows to: the whole of it can be rewound. */
export const HEIGHTS = 5

const LEADER = new Uint8Array(32).fill(7)

/** Context of an attempt at `view` to build on a block. */
export const contextOn = (parent: Block, view: number): ConsensusContext => ({
  round: Round(0, view),
  leader: LEADER,
  parent: { view: View(parent.context.round.view), digest: parent.digest },
})

/** A hook about to be run over a fork. */
export type HookOn<A> = (batches: Batches<Databases>, tools: HookTools<Databases>) => Hook<A>

/** The state in the result of a hook whose result is one. */
export const itself = (sealed: AnySealed | undefined): AnySealed | undefined => sealed

/** See the head of this file. */
export class LawNode {
  readonly application: AnyApplication
  readonly set: DatabaseSet<Databases>
  readonly genesis: Block
  /** Blocks above genesis that are applied here. */
  readonly chain: Array<Block> = []
  readonly #parents = new WeakMap<Block, Block>()

  constructor(application: AnyApplication, { set }: TrackedSet<Databases>, genesis: Block) {
    this.application = application
    this.set = set
    this.genesis = genesis
  }

  /** The newest applied block with its state. */
  get tip(): Tip {
    return { block: this.chain.at(-1) ?? this.genesis, sealed: this.set.tip }
  }

  /** A walk from a block towards genesis, over blocks that this node was told of. */
  ancestry(from: Block): Ancestry<Block> {
    let at: Block | undefined = from
    return {
      next: Effect.sync(() => {
        const block = at
        at = block && this.#parents.get(block)
        return block
      }),
    }
  }

  /** Makes a block known as the child of another. */
  learn(block: Block, parent: Block): void {
    this.#parents.set(block, parent)
  }

  /** A proposal on a block in a view. */
  proposing(parent: Block, view: number): HookOn<Proposal<Block, Databases> | undefined> {
    const context = contextOn(parent, view)
    return (batches, tools) => this.application.propose(context, this.ancestry(parent), batches, tools)
  }

  /** The judgement of a block. */
  verifying(block: Block): HookOn<AnySealed | undefined> {
    return (batches, tools) => this.application.verify(block.context, this.ancestry(block), batches, tools)
  }

  /** The execution of a block again. */
  applying(block: Block): HookOn<AnySealed | undefined> {
    return (batches, tools) => this.application.apply(block, batches, tools)
  }

  /** Proposes on a tip in a view. */
  propose(parent: Tip, view: number): Effect.Effect<Tip | undefined, unknown> {
    return onFork({
      set: this.set,
      parent: parent.sealed,
      hook: this.proposing(parent.block, view),
      stateOf: (proposal) => proposal?.sealed,
    })
  }

  /** Proposes, and fails the law when there is no proposal. */
  readonly build = Effect.fnUntraced({ self: this }, function* (this: LawNode, parent: Tip, view: number) {
    const proposal = yield* this.propose(parent, view)
    claim(proposal !== undefined, `no proposal on height ${parent.block.height}`)
    this.learn(proposal.block, parent.block)
    return proposal
  })

  /** Judges a block over a tip. The caller owns the state. */
  verify(parent: Tip, block: Block): Effect.Effect<AnySealed | undefined, unknown> {
    this.learn(block, parent.block)
    return onFork({ set: this.set, parent: parent.sealed, hook: this.verifying(block), stateOf: itself })
  }

  /** Executes a block again over a tip. The caller owns the state. */
  apply(parent: Tip, block: Block): Effect.Effect<AnySealed | undefined, unknown> {
    return onFork({ set: this.set, parent: parent.sealed, hook: this.applying(block), stateOf: itself })
  }

  /** Makes a child of the tip the tip, durably, and runs the `finalized` hook as often as it is told. */
  readonly finalize = Effect.fnUntraced({ self: this }, function* (this: LawNode, { block, sealed }: Tip, hooks = 1) {
    this.set.apply(sealed, anchorOf(block))
    this.chain.push(block)
    yield* this.set.flush
    for (let i = 0; i < hooks; i++) {
      yield* runHook(
        () =>
          this.set.use("read", (readers) => this.application.finalized?.(block, readers, () => this.set.anchor)) ??
          Effect.void,
      )
    }
  })

  /** Goes back to a height of its chain. */
  readonly rewind = Effect.fnUntraced({ self: this }, function* (this: LawNode, height: number) {
    const row = height as Block["height"]
    yield* this.set.rewind(row)
    this.chain.length = height
  })
}

/** Changes the application of a node before it runs on its set. */
export type Change = (application: AnyApplication, tracked: TrackedSet<Databases>) => AnyApplication

/** Opens a node with an instance and databases of its own. */
export const openNode = Effect.fnUntraced(function* (world: ApplicationWorld, change: Change = (it) => it) {
  const application = world.instance()
  const { chainId, hasher } = world
  const storage = yield* makeMemoryDisk({ chance: chanceOf(0) }).open("set", SET_MAPS)
  const set = yield* openDatabaseSet({ application, chainId, hasher, storage, pendingAcksMax: HEIGHTS + 1 })
  const tracked = trackForks(set)
  return new LawNode(change(application, tracked), tracked, bindSet({ application, chainId, hasher }).genesis)
})

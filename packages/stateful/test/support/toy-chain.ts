/**
 * A toy application over the model set, a block tree for it, and the ports around an executor.
 *
 * A block adds amounts to counters; its header commits to both members' roots. Hooks can be replaced one by one.
 */
import { createHash } from "node:crypto"
import { bytesKey } from "@coppice/codec"
import {
  type Ack,
  type Ancestry,
  type Anchor,
  anchorOf,
  type Block,
  type BlockSource,
  type ConsensusContext,
  Height,
  Round,
  View,
} from "@coppice/consensus"
import { Effect } from "effect"
import type { Application, HookTools, Targets } from "../../src/application.ts"
import type { Batches } from "../../src/database-set.ts"
import { above, added, INITIAL, MODEL_DATABASES, type ModelDatabases, targetsOf } from "./model-set.ts"

/** A toy block. */
export interface ToyBlock extends Block {
  readonly changes: ReadonlyArray<readonly [string, number]>
  readonly targets: Targets<ModelDatabases>
}

type Content = typeof INITIAL
export type ToyApplication = Application<ToyBlock, ModelDatabases>

const LEADER = new Uint8Array(32).fill(3)

const seal = (fields: Omit<ToyBlock, "digest">): ToyBlock => {
  const { context, parent, height, changes, targets } = fields
  const text = JSON.stringify([
    height,
    [...parent],
    context.round,
    changes,
    [...targets.left.root],
    [...targets.right.root],
    [...(targets.right.canonical ?? [])],
  ])
  return { ...fields, digest: createHash("sha256").update(text).digest() }
}

/** Context of an attempt at `view` to build on a block. */
export const contextOn = (parent: ToyBlock, view: number): ConsensusContext => ({
  round: Round(0, view),
  leader: LEADER,
  parent: { view: View(parent.context.round.view), digest: parent.digest },
})

/** The first toy block. */
export const TOY_GENESIS: ToyBlock = seal({
  height: Height(0),
  parent: new Uint8Array(32),
  context: { round: Round(0, 0), leader: LEADER, parent: { view: View(0), digest: new Uint8Array(32) } },
  changes: [],
  targets: targetsOf(INITIAL),
})

const run = (block: Pick<ToyBlock, "changes">, { left, right }: Batches<ModelDatabases>) => {
  for (const [key, amount] of block.changes) {
    left.put(key, left.get(key) + amount)
    right.put(key, right.get(key) + 1)
  }
}

/** Executes a block over batches and seals them: what a sound hook does. */
export const execute = (
  block: Pick<ToyBlock, "changes">,
  batches: Batches<ModelDatabases>,
  tools: HookTools<ModelDatabases>,
) =>
  Effect.suspend(() => {
    run(block, batches)
    return tools.seal(batches)
  })

/** The toy application: a proposal adds its view to the counter "view". Hooks in `hooks` replace its own. */
export const toyApplication = (hooks: Partial<ToyApplication> = {}): ToyApplication => ({
  name: "toy",
  databases: MODEL_DATABASES,
  codec: undefined as never,
  genesis: () => TOY_GENESIS,
  syncTargets: (block) => block.targets,
  propose: (context, ancestry, batches, tools) =>
    Effect.gen(function* () {
      const parent = yield* ancestry.next
      if (parent === undefined) return undefined
      const changes = [["view", context.round.view]] as const
      const sealed = yield* execute({ changes }, batches, tools)
      const block = seal({
        height: above(parent.height),
        parent: parent.digest,
        context,
        changes,
        targets: sealed.targets as ToyBlock["targets"],
      })
      return { block, sealed }
    }),
  verify: (_context, ancestry, batches, tools) =>
    Effect.flatMap(ancestry.next, (block) => execute(block!, batches, tools)),
  apply: (block, batches, tools) => execute(block, batches, tools),
  ...hooks,
})

/** A growing block tree with the state after every block, and the ports that serve it. */
export class ToyChain implements BlockSource<ToyBlock> {
  readonly pendingAcksMax: number
  readonly finalized: ToyBlock[] = [TOY_GENESIS]
  /** What `processedHeight` answers. */
  processed: Height | undefined
  /** Replaced by tests that need a slow or ending source. */
  parentOf: BlockSource<ToyBlock>["parentOf"] = (block) => this.byDigest(block.parent)
  fetches = 0
  readonly #blocks = new Map([[bytesKey(TOY_GENESIS.digest), TOY_GENESIS]])
  readonly #content = new Map<ToyBlock, Content>([[TOY_GENESIS, INITIAL]])

  constructor(pendingAcksMax = 16) {
    this.pendingAcksMax = pendingAcksMax
  }

  /** Adds a child of a block. `lie` puts wrong targets into its header, of one member or both. */
  grow(
    parent: ToyBlock,
    view: number,
    changes: ToyBlock["changes"] = [["n", view]],
    lie?: Partial<ToyBlock["targets"]>,
  ) {
    const content = added(this.#content.get(parent)!, changes)
    const block = seal({
      height: above(parent.height),
      parent: parent.digest,
      context: contextOn(parent, view),
      changes,
      targets: { ...targetsOf(content), ...lie },
    })
    return this.learn(block, content)
  }

  /** Adds a block that somebody proposed. */
  learn(block: ToyBlock, content?: Content): ToyBlock {
    this.#blocks.set(bytesKey(block.digest), block)
    this.#content.set(block, content ?? added(this.#content.get(this.#parent(block)!)!, block.changes))
    return block
  }

  /** Content after a block. */
  contentAfter(block: ToyBlock): Content {
    return this.#content.get(block)!
  }

  #parent(block: ToyBlock): ToyBlock | undefined {
    return this.#blocks.get(bytesKey(block.parent))
  }

  /** A stream from a block towards genesis. */
  ancestry(from: ToyBlock): Ancestry<ToyBlock> {
    let next: ToyBlock | undefined = from
    return {
      next: Effect.sync(() => {
        const block = next
        next = block && this.#parent(block)
        return block
      }),
    }
  }

  finalizedAt(height: Height) {
    return Effect.sync(() => this.finalized[height])
  }

  byDigest(digest: Uint8Array) {
    return Effect.sync(() => {
      this.fetches++
      return this.#blocks.get(bytesKey(digest))
    })
  }

  get processedHeight() {
    return Effect.sync(() => this.processed)
  }

  /** Anchor of genesis. */
  static readonly start: Anchor = anchorOf(TOY_GENESIS)
}

/** An ack that writes down what became of it. */
export const recordingAck = (log: string[], height: number): Ack => {
  let used = false
  const once = (what: string) => () => {
    if (used) throw new Error(`ack of height ${height} was used twice`)
    used = true
    log.push(`${what} ${height}`)
  }
  return { acknowledge: once("ack"), cancel: once("cancel") }
}

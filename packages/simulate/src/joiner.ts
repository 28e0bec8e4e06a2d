/**
 * A node of a world that joins by state sync: its floor, and the final blocks that its sync is sent.
 *
 *   probe of this start --> floor at the first start, by chance a newer one later --> startByPlan
 *   blocks of others -----> asked for over links, again until one has come ---------> replayedSync, member by member
 *
 * Terms: a *floor* is the finalization that a node begins at.
 *
 * Invariant: what its sync is sent has crossed links, there and back, from a node that is up; loss and partitions delay a
 * sync and never end it. It outlives the incarnations of its node.
 */
import type { Block, Height, Marshal, Probe } from "@coppice/consensus"
import type { StateSync } from "@coppice/node"
import { type Databases, memberNames, openSyncPlan } from "@coppice/stateful"
import { drawer } from "@coppice/stateful/diagnosis"
import { Effect } from "effect"
import type { FinalBlocks } from "./final-blocks.ts"
import type { Links } from "./links.ts"
import type { NodeWatch, Standing } from "./node-watch.ts"
import { replayedSync } from "./replayed-sync.ts"

/** Time before a joiner asks again for what did not come. */
const PAUSE_MS = 20
/** Chance that a joiner asks for a newer floor when it starts again. */
const ASK_CHANCE = 0.25
/** Longest that a member of a sync takes over a block. */
const BLOCK_MS_MAX = 60

/** What a joiner is made of. */
export interface JoinerParts<B extends Block, M extends Databases> {
  readonly index: number
  readonly seed: number
  readonly watch: NodeWatch<B, M>
  readonly final: FinalBlocks<B>
  readonly links: Pick<Links, "carry">
  /** The other nodes that are up. */
  readonly others: () => ReadonlyArray<number>
}

/** See the head of this file. */
export class Joiner<B extends Block, M extends Databases> {
  readonly #parts: JoinerParts<B, M>
  readonly #chance: () => number

  constructor(parts: JoinerParts<B, M>) {
    this.#parts = parts
    this.#chance = drawer(parts.seed, `joiner ${parts.index}`)
  }

  /** How an incarnation may bring its databases into an environment, when what the plan there says is noted. */
  readonly stateSync = Effect.fnUntraced(
    { self: this },
    function* (
      this: Joiner<B, M>,
      environment: Parameters<typeof openSyncPlan<B, M>>[0],
      marshal: Pick<Marshal<B>, "processedHeight" | "pendingAcksMax">,
      probe: Pick<Probe, "floor">,
      standing: Standing<M>,
    ) {
      const { watch } = this.#parts
      const { record } = yield* openSyncPlan(environment)
      watch.record.starts(record)
      const askDraw = this.#chance()
      // Asked for until it is recorded; then by some again at each start.
      const isAsked = record.tag === "absent" || askDraw < ASK_CHANCE
      // Each member has a speed of its own, another at each start.
      const speeds = new Map(memberNames(environment.application.databases).map((name) => [name, this.#chance()]))
      const blockMs = (member: string) => BLOCK_MS_MAX * speeds.get(member)!
      const onRegroup = () => void watch.counted.regrouped++
      const stateSync: StateSync<B, M> = {
        ...(isAsked && { floor: watch.floor(probe) }),
        sync: (home) =>
          watch.sync(replayedSync(home, { blockAt: this.#blockAt, blockMs, onRegroup }), marshal, standing),
        attach: ({ durable }) => watch.completes(standing, durable.height),
      }
      return stateSync
    },
  )

  readonly #blockAt = (height: Height): Effect.Effect<B> =>
    Effect.flatMap(this.#ask(height), (block) =>
      block === undefined ? Effect.delay(this.#blockAt(height), PAUSE_MS) : Effect.succeed(block),
    )

  readonly #ask = Effect.fnUntraced({ self: this }, function* (this: Joiner<B, M>, height: Height) {
    const { index, final, links, others } = this.#parts
    const up = others()
    const peer = up[Math.floor(this.#chance() * up.length)]
    if (peer === undefined || !(yield* links.carry(index, peer))) return undefined
    const block = final.at(height)
    if (block === undefined || !others().includes(peer)) return undefined
    return (yield* links.carry(peer, index)) ? block : undefined
  })
}

/**
 * The partitions of a world: groups that are cut off for a while, and the watch over a world that they leave no quorum.
 *
 *   cut --> links are cut --> a leader reaches a quorum that reaches it?
 *                               '-- no: nothing is notarized until links are whole again
 *
 * Terms: the quorum is *lost* while no node reaches one that reaches it. Views that had their votes by then may still end.
 *
 * Invariant: what is cut is what the partitions that last say, whatever began or ended before. A view that is notarized after
 * the quorum is lost is a violation (P-1).
 */
import { Effect, type Scope } from "effect"
import type { SimulatedConsensus } from "./consensus.ts"
import type { Links } from "./links.ts"
import type { WorldFault } from "./plan.ts"

/** One partition. */
export type Partition = WorldFault & { readonly kind: "partition" }

/** What partitions are made among. */
export interface PartitionsParts {
  readonly links: Links
  readonly consensus: Pick<SimulatedConsensus<never>, "statistics">
  /** Validators that decide, out of so many. */
  readonly quorum: number
  readonly nodes: number
  /** Time after which a view that had begun has ended. */
  readonly settleMs: number
}

/** See the head of this file. */
export class Partitions {
  readonly counted = { partitions: 0, oneWay: 0, quorumLosses: 0 }
  readonly violations: Array<string> = []
  readonly #parts: PartitionsParts
  readonly #scope: Scope.Scope
  readonly #lasting = new Set<Partition>()
  /** Since when nothing may be notarized: how many views were, by then. */
  #lostAt: { readonly notarized: number } | undefined
  #loss = 0

  constructor(parts: PartitionsParts, scope: Scope.Scope) {
    this.#parts = parts
    this.#scope = scope
  }

  /** Cuts a group off for its time. */
  readonly cut = (partition: Partition): Effect.Effect<void> =>
    Effect.gen({ self: this }, function* () {
      this.counted.partitions++
      if (partition.way === "in" || partition.way === "out") this.counted.oneWay++
      this.#lasting.add(partition)
      yield* this.#reconnect
      yield* Effect.sleep(partition.forMs)
      this.#lasting.delete(partition)
      yield* this.#reconnect
    })

  /** Nobody is cut off any more. */
  readonly end: Effect.Effect<void> = Effect.suspend(() => {
    this.#lasting.clear()
    return this.#reconnect
  })

  readonly #reconnect: Effect.Effect<void> = Effect.gen({ self: this }, function* () {
    const { links, consensus, settleMs } = this.#parts
    const { notarized } = yield* consensus.statistics
    if (this.#lostAt !== undefined && notarized !== this.#lostAt.notarized) {
      this.violations.push(`P-1 ${notarized - this.#lostAt.notarized} views were notarized without a quorum`)
    }
    this.#lostAt = undefined
    const loss = ++this.#loss
    links.heal()
    for (const { nodes, way } of this.#lasting) links.partition(nodes, way)
    if (this.#hasQuorum) return
    this.counted.quorumLosses++
    const settled = Effect.map(consensus.statistics, ({ notarized }) => {
      if (this.#loss === loss) this.#lostAt = { notarized }
    })
    yield* Effect.forkIn(Effect.delay(settled, settleMs), this.#scope)
  })

  /** Whoever leads a view needs a quorum that hears its block and is heard. */
  get #hasQuorum(): boolean {
    const { links, nodes: count, quorum } = this.#parts
    const nodes = Array.from({ length: count }, (_, node) => node)
    return nodes.some((leader) => {
      const voters = nodes.filter((voter) => links.isOpen(leader, voter) && links.isOpen(voter, leader))
      return voters.length >= quorum
    })
  }
}

/**
 * The links between nodes: how long a message takes, whether it arrives, and who is cut off from whom.
 *
 *   from --- at sending: open? lost? how long? ---> to          first in, first out on each directed link
 *
 * Terms: a *link* leads one way. A *partition* cuts a group of nodes off from all others: nothing gets in, nothing out, or
 * neither.
 *
 * Invariant: the fate of a message is decided when it is sent, and its time runs by the links' own clock, no node's. On one
 * link no message overtakes another: no two arrive at one time, because what becomes ready at one time runs in any order.
 */
import { type Clock, Duration, Effect } from "effect"

/** How a link behaves. */
export interface LinkOptions {
  readonly latencyMs: { readonly min: number; readonly max: number }
  /** Chance that a message is lost, 0 to 1. */
  readonly lossChance: number
}

/** Which way a group is cut off: both, or only what would get into it, or only what would get out. */
export const WAYS = ["both", "in", "out"] as const

/** One of `WAYS`. */
export type Way = (typeof WAYS)[number]

/** Time between two arrivals on one link. */
const APART_MS = 0.001

/** All directed links among nodes that are named by number. */
export interface Links {
  /** Carries one message: true when it has arrived, false at once when it is lost. */
  readonly carry: (from: number, to: number) => Effect.Effect<boolean>
  /** Whether a message sent now could arrive. */
  readonly isOpen: (from: number, to: number) => boolean
  /** Changes one directed link. */
  readonly update: (from: number, to: number, link: LinkOptions) => void
  /** Changes every link. */
  readonly updateAll: (link: LinkOptions) => void
  /** Cuts a group off from everyone outside it, both ways when not given. */
  readonly partition: (group: ReadonlyArray<number>, way?: Way) => void
  /** Opens every link that was cut; how links behave stays. */
  readonly heal: () => void
}

/** Errors: RangeError on latency or loss that make no sense. */
const requireLink = ({ latencyMs: { min, max }, lossChance }: LinkOptions): void => {
  if (!(min >= 0 && min <= max && max < Number.POSITIVE_INFINITY)) throw new RangeError(`latency from ${min} to ${max}`)
  if (!(lossChance >= 0 && lossChance <= 1)) throw new RangeError(`loss by a chance of ${lossChance}`)
}

/** Links of `count` nodes, all open and alike. `chance` is uniform in [0, 1), and their only source of it. */
export const makeLinks = (count: number, link: LinkOptions, chance: () => number, clock: Clock.Clock): Links => {
  requireLink(link)
  const at = (from: number, to: number): number => from * count + to
  const behaviours = new Array<LinkOptions>(count * count).fill(link)
  const isCut = new Uint8Array(count * count)
  const arrivals = new Float64Array(count * count)
  const updateAll = (next: LinkOptions): void => {
    requireLink(next)
    behaviours.fill(next)
  }
  return {
    carry: (from, to) =>
      Effect.suspend(() => {
        const now = clock.currentTimeMillisUnsafe()
        const link = behaviours[at(from, to)]!
        const [lossDraw, latencyDraw] = [chance(), chance()]
        if (isCut[at(from, to)] === 1 || lossDraw < link.lossChance) return Effect.succeed(false)
        const { min, max } = link.latencyMs
        const arrival = Math.max(now + min + latencyDraw * (max - min), arrivals[at(from, to)]! + APART_MS)
        arrivals[at(from, to)] = arrival
        return Effect.as(clock.sleep(Duration.millis(arrival - now)), true)
      }),
    isOpen: (from, to) => isCut[at(from, to)] === 0,
    update: (from, to, next) => {
      requireLink(next)
      behaviours[at(from, to)] = next
    },
    updateAll,
    partition: (group, way = "both") => {
      const inside = new Set(group)
      for (let from = 0; from < count; from++) {
        for (let to = 0; to < count; to++) {
          const leads = inside.has(to) ? "in" : "out"
          if (inside.has(from) !== inside.has(to) && (way === "both" || way === leads)) isCut[at(from, to)] = 1
        }
      }
    },
    heal: () => void isCut.fill(0),
  }
}

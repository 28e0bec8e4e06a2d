/**
 * What a devnet does per second, as numbers and as one line of text.
 *
 *    height  blocks/s  transfers/s             pending      flush  state root of each validator
 *       412      24.0          498    3 layers  1.2 MB     2.1 ms  9f3c52aa 9f3c52aa 9f3c52aa 9f3c52aa
 *
 * Invariant: the roots of a line belong to one height, that every validator has on disk which is not behind. Lines fit
 * into 100 columns with four validators.
 */
import { Height } from "@coppice/consensus"
import { Clock, Effect } from "effect"
import type { Devnet } from "./devnet.ts"
import { stateRoot } from "./verify.ts"

/** Figures of a devnet at one moment, rates since the sample before. */
export interface Sample {
  readonly height: number
  readonly blocksPerSecond: number
  readonly transfersPerSecond: number
  readonly layers: number
  readonly bytes: number
  readonly flushMs: number
  /** State root of each validator at one height, or why there is none. */
  readonly roots: ReadonlyArray<string>
}

/** Follows the final blocks of a devnet. */
export interface Watch {
  /** Takes in what became final since the last call, and gives all transfers in final blocks since the watch began. */
  readonly follow: Effect.Effect<number>
  /** Figures now. */
  readonly sample: Effect.Effect<Sample>
}

const blockAt = Effect.fnUntraced(function* ({ nodes }: Devnet, height: number) {
  for (const { marshal } of nodes()) {
    const block = yield* marshal.finalizedAt(Height(height))
    if (block !== undefined) return block
  }
  return undefined
})

/** Heights that a validator may be behind the first and still decide the height of the roots shown. */
const SHOWN_BEHIND_MAX = 8

const rootsOf = ({ validators, nodes }: Devnet): ReadonlyArray<string> => {
  const durable = nodes().map(({ set }): number => set.durable.height)
  const first = Math.max(0, ...durable)
  const height = Height(Math.min(first, ...durable.filter((each) => each >= first - SHOWN_BEHIND_MAX)))
  return validators.map(({ node }) => {
    const up = node()
    if (up === undefined) return "down"
    const row = up.set.durable.height < height ? undefined : up.set.row(height)
    return row === undefined ? "behind" : stateRoot(row.targets)
  })
}

/** Starts to follow a devnet at its current height. */
export const makeWatch = Effect.fn("Devnet.watch")(function* (devnet: Devnet) {
  let followed = yield* devnet.height
  let transfers = 0
  let last = { ms: yield* Clock.currentTimeMillis, height: followed, transfers }

  const follow = Effect.gen(function* () {
    for (const height = yield* devnet.height; followed < height; followed++) {
      const block = yield* blockAt(devnet, followed + 1)
      if (block === undefined) break
      transfers += block.transactions.length
    }
    return transfers
  })

  const sample = Effect.gen(function* () {
    yield* follow
    const now = { ms: yield* Clock.currentTimeMillis, height: followed, transfers }
    const seconds = Math.max(1, now.ms - last.ms) / 1000
    const nodes = devnet.nodes()
    const figures = yield* Effect.forEach(nodes, ({ executor }) => executor.status)
    const sampled: Sample = {
      height: now.height,
      blocksPerSecond: (now.height - last.height) / seconds,
      transfersPerSecond: (now.transfers - last.transfers) / seconds,
      layers: nodes.reduce((sum, { set }) => sum + set.layers, 0),
      bytes: nodes.reduce((sum, { set }) => sum + set.bytes, 0),
      flushMs: 1000 * Math.max(0, ...figures.map(({ flushSecondsLast }) => flushSecondsLast)),
      roots: rootsOf(devnet),
    }
    last = now
    return sampled
  })

  const watch: Watch = { follow, sample }
  return watch
})

/** Bytes in a unit that people read. */
export const formatBytes = (bytes: number): string => {
  const units = ["B", "kB", "MB", "GB", "TB"]
  let value = bytes
  let unit = 0
  for (; value >= 999.5 && unit < units.length - 1; unit++) value /= 1000
  return `${value >= 99.5 || unit === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`
}

const WIDTHS = [7, 8, 11, 18, 9]

const columns = (texts: ReadonlyArray<string>): string =>
  texts.map((text, index) => text.padStart(WIDTHS[index] ?? 0)).join("  ")

/** Head of the table that `sampleLine` fills. */
export const SAMPLE_HEAD = columns([
  "height",
  "blocks/s",
  "transfers/s",
  "pending",
  "flush",
  "state root of each validator",
])

/** One line of the table. */
export const sampleLine = (sample: Sample): string =>
  columns([
    String(sample.height),
    sample.blocksPerSecond.toFixed(1),
    sample.transfersPerSecond.toFixed(0),
    `${sample.layers} layers ${formatBytes(sample.bytes).padStart(7)}`,
    `${sample.flushMs.toFixed(1)} ms`,
    sample.roots.map((root) => root.slice(0, 8).padEnd(8)).join(" "),
  ])

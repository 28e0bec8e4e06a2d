/**
 * From the activity of one state to that of another: forward by a batch, back by a rewind, or up from nothing at open.
 *
 *   bits flipped --> chunks changed, and chunks that gained a node --job--> height G --job--> height G + 1 --> ...
 *
 * Recomputed are, height by height, the parents of what changed and the nodes that only the new tree has: in an MMB a
 * parent may be born late, over children that did not change. Going back, what the newer state dropped below its floor
 * counts as changed as well.
 *
 * Terms: a node is *below* when it lies wholly below the floor's chunk of the new state: its digest is that of the
 * operations tree, which is not copied. A *mark* is a byte for each node of a height, set where it is to be recomputed.
 *
 * Invariant: the result equals what the same state has when it is built from nothing.
 * Source: spec qmdb §9.3.
 */
import { DIGEST_BYTES, type HashJob } from "@coppice/crypto"
import type { Location } from "@coppice/merkle"
import type { Grafting } from "@coppice/verify/grafting"
import type { SealStep } from "../member.ts"
import { type Activity, emptyActivity, lowOf, type NodeReader } from "./activity.ts"
import { SLICE_ITEMS } from "./layout.ts"
import { Pages } from "./pages.ts"
import { Preimages } from "./preimages.ts"

/** How a state differs from another in size, floor and active operations; the last commit's bit is not listed. */
export interface ActivityChange {
  readonly leaves: Location
  readonly floor: Location
  /** Locations active before and not after. Those that are 0 or at or above `leaves` are skipped. */
  readonly cleared: Float64Array
  /** Locations active after and not before. Those that are 0 or at or above `leaves` are skipped. */
  readonly set: Float64Array
}

/** A bit has the value already that it is to get: the change is not one of that state. */
export class ActivityConflict extends Error {
  constructor(location: number, bit: number) {
    super(`the bit of location ${location} is ${bit} already`)
  }
}

const POSITION_BYTES = 8
const PARENT_BYTES = POSITION_BYTES + 2 * DIGEST_BYTES

/** Which nodes of a height are to be recomputed: `bytes[i]` is 1 for node `from + i`. */
interface Marks {
  readonly from: number
  readonly bytes: Uint8Array
}

const countMarks = ({ bytes }: Marks): number => {
  let count = 0
  for (let i = 0; i < bytes.length; i++) count += bytes[i]!
  return count
}

/** One regraft in progress. Loops are plain methods over a range, which the engine optimizes better than generators. */
class Regraft {
  private readonly grafting: Grafting
  private readonly before: Activity
  private readonly change: ActivityChange
  private readonly node: NodeReader
  private readonly low: number
  private readonly chunks: Pages
  private readonly nodes: Pages

  constructor(before: Activity, change: ActivityChange, node: NodeReader) {
    this.grafting = before.grafting
    this.before = before
    this.change = change
    this.node = node
    this.low = lowOf({ grafting: before.grafting, floor: change.floor })
    this.chunks = before.chunks.fork()
    this.nodes = before.nodes.fork()
  }

  *run(): Generator<SealStep, Activity, void> {
    const { grafting, change } = this
    const { leaves, floor } = change
    const { family, height } = grafting
    let marks = yield* this.flip()
    const levels = [yield* this.graft(marks)]
    const preimages = new Preimages(PARENT_BYTES, countMarks(marks))
    for (let i = 1; family.count(leaves, height + i) > 0; i++) {
      marks = this.parents(marks, height + i)
      levels.push(yield* this.combine(marks, i, levels[i - 1]!, preimages))
    }
    return {
      grafting,
      leaves,
      floor,
      chunks: this.chunks.seal(),
      nodes: this.nodes.seal(),
      levels: levels.map((level) => level.seal()),
    }
  }

  /** Brings the bits up to date; marks chunks that have a node and another digest than before. */
  private *flip(): Generator<undefined, Marks, void> {
    const { before, chunks, low } = this
    const { family, height, span } = this.grafting
    const { leaves, cleared, set } = this.change
    const oldLow = lowOf(before)
    const from = Math.min(low, oldLow)
    const count = family.count(leaves, height)
    const marks = { from, bytes: new Uint8Array(Math.max(0, count - from)) }
    marks.bytes.fill(1, 0, Math.max(0, oldLow - from))
    marks.bytes.fill(1, Math.max(0, family.count(before.leaves, height) - from))
    if (leaves < before.leaves) this.cut(from)
    chunks.cover(from, Math.ceil(leaves / span))
    if (before.leaves > 0 && before.leaves <= leaves) this.flipTo(before.leaves - 1, 0, marks)
    yield* this.setAll(cleared, 0, marks)
    yield* this.setAll(set, 1, marks)
    this.flipTo(leaves - 1, 1, marks)
    chunks.cover(low, Math.ceil(leaves / span))
    return marks
  }

  /** Cuts the bits off that the new state does not have. */
  private cut(from: number): void {
    const { chunks } = this
    const { leaves } = this.change
    const last = Math.floor(leaves / this.grafting.span)
    const remainder = leaves % this.grafting.span
    // Also where no bit of `last` stays: what follows it in its page is written again when the state grows.
    chunks.cover(from, last + 1)
    const at = chunks.at(last) + (remainder >>> 3)
    const kept = chunks.page(last).getUint8(at) & ((1 << (remainder & 7)) - 1)
    chunks.clearFrom(last, remainder >>> 3)
    chunks.writable(last).setUint8(at, kept)
  }

  private *setAll(locations: Float64Array, bit: number, marks: Marks): Generator<undefined, void, void> {
    for (let from = 0; from < locations.length; from += SLICE_ITEMS) {
      const end = Math.min(locations.length, from + SLICE_ITEMS)
      for (let i = from; i < end; i++) {
        const location = locations[i]!
        if (location > 0 && location < this.change.leaves) this.flipTo(location, bit, marks)
      }
      yield undefined
    }
  }

  private flipTo(location: number, bit: number, { from, bytes }: Marks): void {
    const { chunks } = this
    const chunk = Math.floor(location / this.grafting.span)
    const index = location - chunk * this.grafting.span
    const page = chunks.writable(chunk)
    const at = chunks.at(chunk) + (index >>> 3)
    const byte = page.getUint8(at)
    const mask = 1 << (index & 7)
    if (((byte & mask) === 0) === (bit === 0)) throw new ActivityConflict(location, bit)
    page.setUint8(at, byte ^ mask)
    if (chunk - from < bytes.length) bytes[chunk - from] = 1
  }

  /** Recomputes the marked digests of the grafting height. */
  private *graft({ from, bytes }: Marks): Generator<HashJob, Pages, void> {
    const { before, nodes, low } = this
    const { height, chunkBytes } = this.grafting
    const digests = (before.levels[0] ?? new Pages(DIGEST_BYTES)).fork()
    digests.cover(low, from + bytes.length)
    nodes.cover(low, from + bytes.length)
    const known = { from: lowOf(before), to: before.grafting.family.count(before.leaves, height) }
    const preimages = new Preimages(chunkBytes + DIGEST_BYTES, countMarks({ from, bytes }))
    for (let next = low - from; next < bytes.length; ) {
      next = this.fillGrafts(bytes, from, next, known, digests, preimages)
      yield* preimages.hash(digests)
    }
    return digests
  }

  private fillGrafts(
    marks: Uint8Array,
    from: number,
    first: number,
    known: { readonly from: number; readonly to: number },
    digests: Pages,
    preimages: Preimages,
  ): number {
    const { chunks, nodes } = this
    const { family, height, span, chunkBytes } = this.grafting
    const { view } = preimages
    let i = first
    for (let seen = 0; i < marks.length && seen < preimages.nodes.length; i++) {
      if (marks[i] === 0) continue
      seen += 1
      const chunk = from + i
      if (chunk < known.from || chunk >= known.to) {
        nodes.write(chunk, this.node(family.position((chunk * span) as Location, height)))
      }
      if (chunks.isZero(chunk)) digests.copyFrom(chunk, nodes.page(chunk), nodes.at(chunk))
      else {
        const at = preimages.count * (chunkBytes + DIGEST_BYTES)
        chunks.copyTo(chunk, view, at)
        nodes.copyTo(chunk, view, at + chunkBytes)
        preimages.nodes[preimages.count++] = chunk
      }
    }
    return i
  }

  /** Marks the parents of marked nodes, and the nodes of their height that are new. */
  private parents(children: Marks, height: number): Marks {
    const { family } = this.grafting
    const { bytes } = children
    const from = Math.floor(children.from / 2)
    const count = family.count(this.change.leaves, height)
    const marks = { from, bytes: new Uint8Array(Math.max(0, count - from)) }
    const odd = children.from - 2 * from
    for (let i = 0; i < bytes.length; i++) if (bytes[i] === 1) marks.bytes[(i + odd) >>> 1] = 1
    marks.bytes.fill(1, Math.max(0, family.count(this.before.leaves, height) - from))
    return marks
  }

  /** Recomputes the marked digests `above` the grafting height from those of the height under them. */
  private *combine(
    { from, bytes }: Marks,
    above: number,
    children: Pages,
    preimages: Preimages,
  ): Generator<HashJob, Pages, void> {
    const digests = (this.before.levels[above] ?? new Pages(DIGEST_BYTES)).fork()
    const low = Math.floor(this.low / 2 ** above)
    digests.cover(low, from + bytes.length)
    for (let next = low - from; next < bytes.length; ) {
      next = this.fillParents(bytes, from, next, above, children, preimages)
      yield* preimages.hash(digests)
    }
    return digests
  }

  private fillParents(
    marks: Uint8Array,
    from: number,
    first: number,
    above: number,
    children: Pages,
    preimages: Preimages,
  ): number {
    const { family, height, span } = this.grafting
    const { view } = preimages
    const width = span * 2 ** above
    let i = first
    for (; i < marks.length && preimages.count < preimages.nodes.length; i++) {
      if (marks[i] === 0) continue
      const index = from + i
      const at = preimages.count * PARENT_BYTES
      const position = family.position((index * width) as Location, height + above)
      view.setUint32(at, position / 2 ** 32)
      view.setUint32(at + 4, position)
      this.copyChild(2 * index, above - 1, children, view, at + POSITION_BYTES)
      this.copyChild(2 * index + 1, above - 1, children, view, at + POSITION_BYTES + DIGEST_BYTES)
      preimages.nodes[preimages.count++] = index
    }
    return i
  }

  private copyChild(index: number, above: number, children: Pages, view: DataView, at: number): void {
    const { family, height, span } = this.grafting
    const width = 2 ** above
    if ((index + 1) * width > this.low) children.copyTo(index, view, at)
    else {
      const position = family.position((index * width * span) as Location, height + above)
      new Uint8Array(view.buffer).set(this.node(position), at)
    }
  }
}

/**
 * The activity of another state.
 *
 * Shape: yields hash jobs, and undefined where it may pause. `node` reads the operations tree of the new state.
 * Cancellation: abandoning the generator leaves nothing behind; `before` is never changed.
 * Errors: throws `Error` when a bit to be flipped already is what it should become.
 * Cost: a hash per changed chunk and per node over one, and a byte per chunk above the floor.
 */
export const regraft = (
  before: Activity,
  change: ActivityChange,
  node: NodeReader,
): Generator<SealStep, Activity, void> => new Regraft(before, change, node).run()

/** The activity of a state from its active locations, as a generator like `regraft`. */
export const graftAll = (
  grafting: Grafting,
  { leaves, floor, set }: Omit<ActivityChange, "cleared">,
  node: NodeReader,
): Generator<SealStep, Activity, void> =>
  regraft(emptyActivity(grafting, floor), { leaves, floor, set, cleared: new Float64Array(0) }, node)

/**
 * Batched append, the hot path of every database.
 *
 * An append is a generator of hash jobs. It fills a job with preimages, yields it, and is resumed once the digests stand
 * in the node buffer; the driver decides when to pause between jobs. All leaves come first, then the parents height by
 * height, because a parent needs nothing but digests of the height below:
 *
 *   leaves  --job--job--job--> height 1 --job--job--> height 2 --job--> ... --> new frontier
 *
 * Which nodes are new is arithmetic: height `h` of a family holds nodes `0, 1, 2, ...` in leaf order, so an append makes
 * exactly the nodes `count(before, h) .. count(after, h)` of each height. A child is either new, and then stands in the
 * node buffer, or it is a peak of the old frontier.
 *
 * Invariant: the node buffer is the tree's node array from `size(before)` to `size(after)`, every digest written once.
 */
import { DIGEST_BYTES, type Hasher, type HashJob } from "@coppice/crypto"
import type { Peak } from "./family.ts"
import { type Frontier, requireLeaves } from "./frontier.ts"
import { writeBe8 } from "./internal/digests.ts"
import { APPEND_LEAVES_MAX, HASH_JOB_BYTES_MAX, HASH_JOB_PREIMAGES_MAX } from "./limits.ts"
import type { Location, Position } from "./location.ts"

/** Elements in one buffer: element `i` is `bytes[offsets[i] .. offsets[i + 1])`. Borrowed until the append is done. */
export interface LeafSource {
  readonly count: number
  readonly bytes: Uint8Array
  readonly offsets: Uint32Array | Float64Array
}

/** What an append makes: the frontier after it, and 32 bytes per new node from `size(before)` to `size(after)`. */
export interface Appended {
  readonly frontier: Frontier
  readonly nodes: Uint8Array
}

const POSITION_BYTES = 8
// Digests move in words of 64 bits: in isolation 15 ns per parent, against 22 ns in words of 32.
const WORD_BYTES = 8
const PARENT_BYTES = POSITION_BYTES + 2 * DIGEST_BYTES
const DIGEST_WORDS = DIGEST_BYTES / WORD_BYTES
const PARENT_WORDS = PARENT_BYTES / WORD_BYTES
const POSITION_WORDS = POSITION_BYTES / WORD_BYTES

/** The input of hash jobs, filled anew for each. `words` and `view` are the same memory as `bytes`. */
class JobInput {
  bytes!: Uint8Array
  words!: BigUint64Array
  view!: DataView

  constructor(length: number) {
    this.renew(length)
  }

  /** Makes room for a job; what the one before it filled in is lost. */
  require(length: number): void {
    if (length > this.bytes.length) this.renew(length)
  }

  private renew(length: number): void {
    const buffer = new ArrayBuffer(Math.ceil(length / WORD_BYTES) * WORD_BYTES)
    this.bytes = new Uint8Array(buffer)
    this.words = new BigUint64Array(buffer)
    this.view = new DataView(buffer)
  }
}

/** An append in progress. `base` is the position of the first new node. */
interface Work {
  readonly frontier: Frontier
  /** The peaks of the frontier. */
  readonly peaks: ReadonlyArray<Peak>
  readonly after: Location
  readonly base: Position
  readonly nodes: Uint8Array
  /** Room for the places of all new nodes, level by level. */
  readonly places: Uint32Array
  readonly input: JobInput
  readonly inputOffsets: Uint32Array
}

/** The new nodes of one height, from node `first` on, and where each stands in the node buffer, in bytes. */
interface Level {
  readonly height: number
  readonly first: number
  readonly places: Uint32Array
}

/** The level of a height; the places of the levels below take the first `placed`. */
const levelOf = ({ frontier, after, places }: Work, height: number, placed: number): Level => {
  const { count } = frontier.family
  const first = count(frontier.leaves, height)
  return { height, first, places: places.subarray(placed, placed + count(after, height) - first) }
}

/** Places the nodes `from .. to` of a level, counted from its first. They are placed job by job to keep slices short. */
const place = ({ frontier, base }: Work, { height, first, places }: Level, from: number, to: number): Uint32Array => {
  const { position } = frontier.family
  const span = 2 ** height
  for (let i = from; i < to; i++) {
    places[i] = (position(((first + i) * span) as Location, height) - base) * DIGEST_BYTES
  }
  return places.subarray(from, to)
}

/** How many elements from `first` on fit one job: at least one, whatever its length. */
const elementsFitting = ({ count, offsets }: LeafSource, first: number): number => {
  const most = Math.min(count - first, HASH_JOB_PREIMAGES_MAX)
  const start = offsets[first]!
  let fitting = 1
  while (fitting < most && offsets[first + fitting + 1]! - start + (fitting + 1) * POSITION_BYTES <= HASH_JOB_BYTES_MAX)
    fitting++
  return fitting
}

/** Bytes of input that all jobs of an append need, unless a single preimage is longer than a job. */
const inputBytes = ({ count, offsets }: LeafSource): number => {
  const leaves = offsets[count]! - offsets[0]! + count * POSITION_BYTES
  // No height gains more parents than half of the leaves, rounded up.
  const parents = Math.min(Math.ceil(count / 2), HASH_JOB_PREIMAGES_MAX) * PARENT_BYTES
  return Math.max(Math.min(leaves, HASH_JOB_BYTES_MAX), parents)
}

/** Writes the preimages of elements from `first` on, one per place. */
const fillLeaves = (
  { base, input, inputOffsets }: Work,
  source: LeafSource,
  first: number,
  places: Uint32Array,
): void => {
  const { bytes, view } = input
  const elements = source.bytes
  const elementsView = new DataView(elements.buffer, elements.byteOffset, elements.byteLength)
  let at = 0
  for (let i = 0; i < places.length; i++) {
    inputOffsets[i] = at
    writeBe8(view, at, base + places[i]! / DIGEST_BYTES)
    at += POSITION_BYTES
    // In isolation 65 bytes take 14 ns eight at a time, 30 ns by `set` of a subarray, 36 ns one at a time.
    const to = source.offsets[first + i + 1]!
    let from = source.offsets[first + i]!
    for (; from + 8 <= to; from += 8, at += 8) view.setBigUint64(at, elementsView.getBigUint64(from, true), true)
    for (; from < to; from++, at++) bytes[at] = elements[from]!
  }
  inputOffsets[places.length] = at
}

/** The job that fills nodes at `places` from the input. */
const jobOf = ({ input, inputOffsets, nodes }: Work, places: Uint32Array): HashJob => ({
  count: places.length,
  input: input.bytes,
  inputOffsets,
  output: nodes,
  outputOffsets: places,
})

function* leafJobs(work: Work, level: Level, source: LeafSource): Generator<HashJob, void, void> {
  const { count, offsets } = source
  for (let first = 0; first < count; ) {
    const end = first + elementsFitting(source, first)
    work.input.require(offsets[end]! - offsets[first]! + (end - first) * POSITION_BYTES)
    const places = place(work, level, first, end)
    fillLeaves(work, source, first, places)
    yield jobOf(work, places)
    first = end
  }
}

/** Copies the digest that begins at byte `from` of `source` to word `at` of `target`. */
const copyDigest = (target: BigUint64Array, at: number, source: BigUint64Array, from: number): void => {
  const word = from / WORD_BYTES
  for (let i = 0; i < DIGEST_WORDS; i++) target[at + i] = source[word + i]!
}

const peakIndex = (peaks: ReadonlyArray<Peak>, start: number, height: number): number => {
  const index = peaks.findIndex((peak) => peak.start === start && peak.height === height)
  if (index < 0) throw new Error(`node (${start}, ${height}) is neither new nor a peak of the frontier`)
  return index
}

/** Writes the preimages of parents from node `first` of their height on, one per place. `made` are the words of the nodes. */
const fillParents = (
  { frontier, peaks, base, input }: Work,
  made: BigUint64Array,
  children: Level,
  first: number,
  places: Uint32Array,
): void => {
  const { bytes, words, view } = input
  const copyChild = (index: number, at: number): void => {
    const slot = index - children.first
    if (slot >= 0) copyDigest(words, at, made, children.places[slot]!)
    else {
      const peak = peakIndex(peaks, index * 2 ** children.height, children.height)
      bytes.set(frontier.peaks[peak]!, at * WORD_BYTES)
    }
  }
  for (let i = 0; i < places.length; i++) {
    const left = 2 * (first + i)
    const at = i * PARENT_WORDS + POSITION_WORDS
    writeBe8(view, i * PARENT_BYTES, base + places[i]! / DIGEST_BYTES)
    copyChild(left, at)
    copyChild(left + 1, at + DIGEST_WORDS)
  }
}

function* parentJobs(work: Work, leaves: Level): Generator<HashJob, void, void> {
  const { frontier, after, nodes, inputOffsets } = work
  const { family } = frontier
  const made = new BigUint64Array(nodes.buffer)
  for (let i = 0; i < inputOffsets.length; i++) inputOffsets[i] = i * PARENT_BYTES
  let children = leaves
  let placed = leaves.places.length
  for (let height = 1; family.count(after, height) > 0; height++) {
    const level = levelOf(work, height, placed)
    for (let done = 0; done < level.places.length; done += HASH_JOB_PREIMAGES_MAX) {
      const places = place(work, level, done, Math.min(done + HASH_JOB_PREIMAGES_MAX, level.places.length))
      fillParents(work, made, children, level.first + done, places)
      yield jobOf(work, places)
    }
    children = level
    placed += level.places.length
  }
}

const frontierAfter = ({ frontier, peaks: oldPeaks, after, base, nodes }: Work): Frontier => {
  const { family } = frontier
  const peaks = family.peaks(after).map(({ start, height, position }) => {
    const at = (position - base) * DIGEST_BYTES
    return at >= 0 ? nodes.slice(at, at + DIGEST_BYTES) : frontier.peaks[peakIndex(oldPeaks, start, height)]!
  })
  return { family, leaves: after, peaks }
}

/**
 * Appends leaves to a frontier, a slice at a time.
 *
 * Shape: yields hash jobs that write into the node buffer; returns that buffer and the frontier after. Resume only when
 * the yielded job has run: its input is reused by the next one. Abandoning the generator leaves nothing behind.
 * Bounds: `APPEND_LEAVES_MAX` leaves; `HASH_JOB_PREIMAGES_MAX` preimages and `HASH_JOB_BYTES_MAX` input bytes per job, or
 * one longer preimage. The first step throws `RangeError` on more leaves than that, or than the family allows.
 * Cost: one hash per new node, about 30 ns beside it (bench/append.ts), and no allocation per node.
 * Source: spec merkle §2 and §4.
 */
export function* appendLeaves(frontier: Frontier, source: LeafSource): Generator<HashJob, Appended, void> {
  const { family, leaves: before } = frontier
  const { count } = source
  if (count > APPEND_LEAVES_MAX) throw new RangeError(`cannot append ${count} leaves at once`)
  if (!(source.offsets[count]! <= source.bytes.length)) throw new RangeError(`${count} leaves end outside their bytes`)
  const after = requireLeaves(family, before + count)
  const base = family.size(before)
  const made = family.size(after) - base
  const nodes = new Uint8Array(made * DIGEST_BYTES)
  // One array for both: to make and to collect an array costs 1 to 3 us, as much as hashing ten nodes.
  const numbers = new Uint32Array(made + Math.min(count, HASH_JOB_PREIMAGES_MAX) + 1)
  const work: Work = {
    frontier,
    peaks: family.peaks(before),
    after,
    base,
    nodes,
    places: numbers.subarray(0, made),
    input: new JobInput(inputBytes(source)),
    inputOffsets: numbers.subarray(made),
  }
  const leaves = levelOf(work, 0, 0)
  yield* leafJobs(work, leaves, source)
  yield* parentJobs(work, leaves)
  return { frontier: frontierAfter(work), nodes }
}

/** Drives a generator of hash jobs to its end with a synchronous hasher. Throws `TypeError` when the hasher is not. */
export const runJobs = <A>(hasher: Hasher, jobs: Generator<HashJob, A, void>): A => {
  for (;;) {
    const step = jobs.next()
    if (step.done === true) return step.value
    if (hasher.run(step.value) !== undefined) throw new TypeError(`hasher ${hasher.name} is not synchronous`)
  }
}

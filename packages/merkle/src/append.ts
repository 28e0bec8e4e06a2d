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
import type { Family, Peak } from "./family.ts"
import { type Frontier, requireLeaves } from "./frontier.ts"
import { writeBe8 } from "./internal/digests.ts"
import { APPEND_LEAVES_MAX, HASH_JOB_BYTES_MAX, HASH_JOB_PREIMAGES_MAX } from "./limits.ts"
import type { Location } from "./location.ts"

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
const PARENT_BYTES = POSITION_BYTES + 2 * DIGEST_BYTES
const DIGEST_WORDS = DIGEST_BYTES / 4
const PARENT_WORDS = PARENT_BYTES / 4

/** The buffers of an append: nodes in the making, and one job's worth of preimages that every job reuses. */
interface Work {
  readonly family: Family
  readonly before: Location
  readonly after: Location
  readonly base: number
  readonly nodes: Uint8Array
  readonly inputOffsets: Uint32Array
  readonly outputOffsets: Uint32Array
}

/** How many preimages from element `first` on fit one job: at least one, whatever its length. */
const leavesFitting = (source: LeafSource, first: number): number => {
  const { count, offsets } = source
  const most = Math.min(count - first, HASH_JOB_PREIMAGES_MAX)
  const start = offsets[first]!
  let fitting = 1
  while (fitting < most && offsets[first + fitting + 1]! - start + (fitting + 1) * POSITION_BYTES <= HASH_JOB_BYTES_MAX)
    fitting++
  return fitting
}

function* leafJobs(work: Work, source: LeafSource): Generator<HashJob, void, void> {
  const { family, before, base, nodes, inputOffsets, outputOffsets } = work
  const { bytes, offsets } = source
  let input = new Uint8Array(0)
  let view = new DataView(input.buffer)
  for (let first = 0; first < source.count; ) {
    const count = leavesFitting(source, first)
    const length = offsets[first + count]! - offsets[first]! + count * POSITION_BYTES
    if (input.length < length) {
      const rest = offsets[source.count]! - offsets[first]! + (source.count - first) * POSITION_BYTES
      input = new Uint8Array(Math.max(length, Math.min(rest, HASH_JOB_BYTES_MAX)))
      view = new DataView(input.buffer)
    }
    let at = 0
    for (let i = 0; i < count; i++) {
      const position = family.size((before + first + i) as Location)
      const from = offsets[first + i]!
      const to = offsets[first + i + 1]!
      inputOffsets[i] = at
      outputOffsets[i] = (position - base) * DIGEST_BYTES
      writeBe8(view, at, position)
      input.set(bytes.subarray(from, to), at + POSITION_BYTES)
      at += POSITION_BYTES + to - from
    }
    inputOffsets[count] = at
    yield { count, input, inputOffsets, output: nodes, outputOffsets }
    first += count
  }
}

/** Copies the digest that begins at word `from` of `source` to word `at` of `target`. */
const copyDigest = (target: Uint32Array, at: number, source: Uint32Array, from: number): void => {
  for (let i = 0; i < DIGEST_WORDS; i++) target[at + i] = source[from + i]!
}

const peakIndex = (peaks: ReadonlyArray<Peak>, start: number, height: number): number => {
  const index = peaks.findIndex((peak) => peak.start === start && peak.height === height)
  if (index < 0) throw new Error(`node (${start}, ${height}) is neither new nor a peak of the frontier`)
  return index
}

function* parentJobs(work: Work, frontier: Frontier): Generator<HashJob, void, void> {
  const { family, before, after, base, nodes, inputOffsets, outputOffsets } = work
  const oldPeaks = family.peaks(before)
  const oldDigests = new Uint8Array(oldPeaks.length * DIGEST_BYTES)
  frontier.peaks.forEach((digest, i) => void oldDigests.set(digest, i * DIGEST_BYTES))
  const oldWords = new Uint32Array(oldDigests.buffer)
  const newWords = new Uint32Array(nodes.buffer)
  const input = new Uint8Array(outputOffsets.length * PARENT_BYTES)
  const words = new Uint32Array(input.buffer)
  const view = new DataView(input.buffer)
  for (let i = 0; i < inputOffsets.length; i++) inputOffsets[i] = i * PARENT_BYTES

  const copyNode = (start: number, height: number, at: number): void => {
    const index = family.position(start as Location, height) - base
    if (index >= 0) copyDigest(words, at, newWords, index * DIGEST_WORDS)
    else copyDigest(words, at, oldWords, peakIndex(oldPeaks, start, height) * DIGEST_WORDS)
  }

  for (let height = 1; family.count(after, height) > 0; height++) {
    const span = 2 ** height
    const end = family.count(after, height)
    for (let first = family.count(before, height); first < end; first += HASH_JOB_PREIMAGES_MAX) {
      const count = Math.min(end - first, HASH_JOB_PREIMAGES_MAX)
      for (let i = 0; i < count; i++) {
        const start = (first + i) * span
        const position = family.position(start as Location, height)
        outputOffsets[i] = (position - base) * DIGEST_BYTES
        writeBe8(view, i * PARENT_BYTES, position)
        copyNode(start, height - 1, i * PARENT_WORDS + 2)
        copyNode(start + span / 2, height - 1, i * PARENT_WORDS + 2 + DIGEST_WORDS)
      }
      yield { count, input, inputOffsets, output: nodes, outputOffsets }
    }
  }
}

const frontierAfter = (work: Work, frontier: Frontier): Frontier => {
  const { family, before, after, base, nodes } = work
  const oldPeaks = family.peaks(before)
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
 * one longer preimage. Throws `RangeError` above those and above the family's leaf maximum.
 * Cost: one hash per new node; no allocation per node but a view per element.
 * Source: spec merkle §2 and §4.
 */
export function* appendLeaves(frontier: Frontier, source: LeafSource): Generator<HashJob, Appended, void> {
  const { family, leaves: before } = frontier
  const { count } = source
  if (!(count >= 0 && count <= APPEND_LEAVES_MAX)) throw new RangeError(`cannot append ${count} leaves at once`)
  if (source.offsets.length <= count) throw new RangeError(`${count} leaves need ${count + 1} offsets`)
  const after = requireLeaves(family, before + count)
  const base = family.size(before)
  // No height gains more parents than the tree gains leaves.
  const slots = Math.min(count, HASH_JOB_PREIMAGES_MAX)
  const work: Work = {
    family,
    before,
    after,
    base,
    nodes: new Uint8Array((family.size(after) - base) * DIGEST_BYTES),
    inputOffsets: new Uint32Array(slots + 1),
    outputOffsets: new Uint32Array(slots),
  }
  yield* leafJobs(work, source)
  yield* parentJobs(work, frontier)
  return { frontier: frontierAfter(work, frontier), nodes: work.nodes }
}

/** Drives a generator of hash jobs to its end with a synchronous hasher. Throws `TypeError` when the hasher is not. */
export const runJobs = <A>(hasher: Hasher, jobs: Generator<HashJob, A, void>): A => {
  for (;;) {
    const step = jobs.next()
    if (step.done === true) return step.value
    if (hasher.run(step.value) !== undefined) throw new TypeError(`hasher ${hasher.name} is not synchronous`)
  }
}

/**
 * Goal: bitmaps, chunks and all roots of a `current` database equal the published ones, for every chunk size and family.
 * Method: the operations and active keys of current-*.json are fed to the pure core step by step; after each step it is
 * also built from nothing, and taken back to every step before.
 */
import { readFileSync } from "node:fs"
import { opensslHasher } from "@coppice/crypto/node"
import { family as familyOf, Location } from "@coppice/merkle"
import { alignedInactivePeaks, chunkCounts, grafting } from "@coppice/verify/grafting"
import { describe, expect, it } from "vitest"
import { type Activity, canonicalState, readChunk } from "../src/internal/activity.ts"
import { backward, build, forward, hex, OperationsTree, type State } from "./support/activity.ts"

interface After {
  readonly size: number
  readonly floor: number
  readonly ops_root: string
  readonly new_operations: ReadonlyArray<{ readonly encoded: string }>
  readonly active: Record<string, number>
  readonly bitmap: string
  readonly chunks: ReadonlyArray<string>
  readonly graftable_chunks: number
  readonly grafted_inactive_peaks: number
  readonly grafted_root: string
  readonly pending_digest: string | null
  readonly partial: { readonly next_bit: number; readonly digest: string } | null
  readonly root: string
}
interface Case {
  readonly family: "mmr" | "mmb"
  readonly chunk_bytes: number
  readonly grafting_height: number
  readonly encoding: string
  readonly steps: ReadonlyArray<{ readonly genesis?: After; readonly after?: After }>
}

const cases = ["current-unordered", "current-ordered"].flatMap((file) => {
  const url = new URL(`../../../conformance/vectors/${file}.json`, import.meta.url)
  const vectors = JSON.parse(readFileSync(url, "utf8")) as { readonly cases: ReadonlyArray<Case> }
  return vectors.cases.map((vector) => ({ ...vector, file }))
})

/** The steps of a case that change the state, with the state as the core is told of it. */
const statesOf = ({ steps }: Case): ReadonlyArray<State & { readonly after: After }> =>
  steps
    .map((step) => step.genesis ?? step.after)
    .filter((after) => after !== undefined)
    .map((after) => ({
      after,
      leaves: Location(after.size),
      floor: Location(after.floor),
      active: new Set(Object.values(after.active)),
    }))

const bitmapOf = (activity: Activity): string => {
  const { span } = activity.grafting
  return Array.from({ length: activity.leaves }, (_, location) => {
    const bit = location % span
    return (readChunk(activity, Math.floor(location / span))[bit >>> 3]! >>> (bit & 7)) & 1
  }).join("")
}

const found = (activity: Activity, tree: OperationsTree) => {
  const { grafting: shape, leaves, floor } = activity
  const opsRoot = tree.root(leaves, floor)
  const { graftedRoot, pending, partial, root } = canonicalState(opensslHasher, activity, opsRoot, tree.node(leaves))
  return {
    bitmap: bitmapOf(activity),
    chunks: Array.from({ length: Math.ceil(leaves / shape.span) }, (_, chunk) => hex(readChunk(activity, chunk))),
    graftable_chunks: chunkCounts(shape, leaves).graftable,
    grafted_inactive_peaks: alignedInactivePeaks(shape, leaves, floor),
    ops_root: hex(opsRoot),
    grafted_root: hex(graftedRoot),
    pending_digest: pending === undefined ? null : hex(pending),
    partial: partial === undefined ? null : { next_bit: partial.bits, digest: hex(partial.digest) },
    root: hex(root),
  }
}

const published = (after: After): Partial<After> => {
  const { bitmap, chunks, graftable_chunks, grafted_inactive_peaks } = after
  const { ops_root, grafted_root, pending_digest, partial, root } = after
  const digests = { ops_root, grafted_root, pending_digest, partial, root }
  return { bitmap, chunks, graftable_chunks, grafted_inactive_peaks, ...digests }
}

describe.each(cases)("$file.json, $family, chunks of $chunk_bytes, $encoding", (vector) => {
  const family = familyOf(vector.family)
  const shape = grafting(family, vector.chunk_bytes)
  const states = statesOf(vector)
  const operations = states.flatMap(({ after }) =>
    after.new_operations.map(({ encoded }) => Buffer.from(encoded, "hex")),
  )
  const tree = new OperationsTree(family, operations)

  it("the grafting height is the published one", () => {
    expect(shape.height).toBe(vector.grafting_height)
  })

  it("every step of a chain of batches has the published bits, chunks, digests and roots", () => {
    let activity = build(shape, tree, states[0]!)
    expect(found(activity, tree)).toEqual(published(states[0]!.after))
    for (let i = 1; i < states.length; i++) {
      activity = forward(activity, tree, states[i - 1]!, states[i]!)
      expect(found(activity, tree), `step ${i}`).toEqual(published(states[i]!.after))
    }
  })

  it("so has every step that is built from nothing, or reached by going back from a later one", () => {
    for (const [i, state] of states.entries()) {
      const activity = build(shape, tree, state)
      expect(found(activity, tree), `step ${i}`).toEqual(published(state.after))
      for (const target of states.slice(0, i)) {
        expect(found(backward(activity, tree, state, target), tree), `${i} back to ${target.leaves}`).toEqual(
          published(target.after),
        )
      }
    }
  })
})

it("the comparison is no formality: one bit more is another root", () => {
  const vector = cases.find(({ family, chunk_bytes }) => family === "mmb" && chunk_bytes === 1)!
  const family = familyOf(vector.family)
  const states = statesOf(vector)
  const state = states.at(-1)!
  const operations = states.flatMap(({ after }) =>
    after.new_operations.map(({ encoded }) => Buffer.from(encoded, "hex")),
  )
  const tree = new OperationsTree(family, operations)
  const inactive = Array.from({ length: state.leaves - 1 }, (_, i) => i).findLast((i) => !state.active.has(i))!
  const wrong = { ...state, active: new Set([...state.active, inactive]) }
  expect(found(build(grafting(family, 1), tree, wrong), tree).root).not.toBe(state.after.root)
})

/**
 * Goal: the canonical root is the specification's, and proofs hold, whatever is done in whatever order: forks, losing
 * branches, flushes, pruning, rewinding, reopening.
 * Method: the commands and the model of world.test.ts against a `current` database with chunks of one and two bytes and
 * pages of two digests, so that chunks, pending ones and late parents come and go all the time. Canaries: activity that
 * goes wrong in one place, which the same commands must catch.
 */
import fc from "fast-check"
import { afterEach, describe, expect, it, vi } from "vitest"
import { Pages } from "../src/internal/pages.ts"
import { SlotIndex } from "../src/internal/slot-index.ts"
import { COMMANDS, type Command, World, type WorldOptions } from "./support/world.ts"

vi.mock("../src/internal/layout.ts", () => ({
  ROW_BYTES: 64,
  PACKED_OPERATIONS: 3,
  SLICE_ITEMS: 2,
  ROUND_FLUSHES: 7,
  PAGE_BYTES: 64,
}))

afterEach(() => {
  vi.restoreAllMocks()
})

const pick = fc.nat(1000)

const commands = fc.array(
  fc.record({
    tag: fc.constantFrom(...COMMANDS, ...(["block", "block", "block", "rewind", "step"] as const)),
    a: pick,
    b: pick,
    c: pick,
  }) satisfies fc.Arbitrary<Command>,
  { minLength: 1, maxLength: 120, size: "max" },
)

const run = (options: WorldOptions, given: ReadonlyArray<Command>): void => {
  const world = new World(options)
  for (const command of given) world.run(command)
  world.reopen()
}

const variants = (["mmr", "mmb"] as const).flatMap((family) => [
  { family, encoding: "fixed" as const, ordered: false, chunkBytes: 1 },
  { family, encoding: "variable" as const, ordered: false, chunkBytes: 2 },
  { family, encoding: "variable" as const, ordered: true, chunkBytes: 1 },
  { family, encoding: "fixed" as const, ordered: true, chunkBytes: 2 },
])

describe.each(variants)("current, ordered $ordered, $family, $encoding, chunks of $chunkBytes", (variant) => {
  it("equals the specification in any order of calls", () => {
    fc.assert(
      fc.property(commands, (given) => run(variant, given)),
      { numRuns: 40 },
    )
  })
})

describe("canaries: the same commands catch", () => {
  const caught = (): void => {
    const outcome = fc.check(
      fc.property(fc.constantFrom(...variants), commands, (variant, given) => run(variant, given)),
      { numRuns: 200, endOnFailure: true },
    )
    expect(outcome.failed).toBe(true)
  }

  it("pages that a layer writes through to its parent's", () => {
    vi.spyOn(Pages.prototype, "writable").mockImplementation(function (this: Pages, record) {
      return this.page(record)
    })
    caught()
  })

  it("bits that stay where a rewind cut the log", () => {
    vi.spyOn(Pages.prototype, "clearFrom").mockImplementation(() => {})
    caught()
  })

  it("an index that forgets an active location when it is opened", () => {
    const { locations } = SlotIndex.prototype
    vi.spyOn(SlotIndex.prototype, "locations").mockImplementation(function (this: SlotIndex, active) {
      return locations.call(this, active).fill(0, 0, 1)
    })
    caught()
  })
})

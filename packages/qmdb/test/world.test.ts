/**
 * Goal: INV-36 a batch never sees another branch's writes, INV-37 un-applied ancestors live as long as their descendants, and
 * every root, floor and operation is the specification's, whatever is done in whatever order.
 * Method: random commands run against the database and the model of the specification (support/world.ts), for both
 * orders, families and encodings, with rows and slices so small that every boundary is crossed. Canaries: four broken databases,
 * each of which the same commands must catch.
 */
import fc from "fast-check"
import { afterEach, describe, expect, it, vi } from "vitest"
import type { Branch } from "../src/internal/branches.ts"
import { KeyIndex } from "../src/internal/key-index.ts"
import { headChange, readHead } from "../src/internal/log-state.ts"
import { SlotIndex } from "../src/internal/slot-index.ts"
import { Space } from "../src/internal/space.ts"
import { SpilledParts } from "../src/internal/spilled-parts.ts"
import { applyChanges, homeOver, type Rows } from "./support/harness.ts"
import { COMMANDS, type Command, World, type WorldOptions } from "./support/world.ts"

vi.mock("../src/internal/layout.ts", () => ({
  ROW_BYTES: 64,
  PACKED_OPERATIONS: 3,
  SLICE_ITEMS: 2,
  ROUND_FLUSHES: 7,
}))

afterEach(() => {
  vi.restoreAllMocks()
})

const pick = fc.nat(1000)

const commandOf = (tags: ReadonlyArray<Command["tag"]>): fc.Arbitrary<Command> =>
  fc.record({ tag: fc.constantFrom(...tags), a: pick, b: pick, c: pick })

const anyOrder = fc.array(commandOf([...COMMANDS, "open", "write", "seal", "step", "block", "plan"]), {
  minLength: 1,
  maxLength: 150,
  size: "max",
})

const manyBlocks = fc.array(
  commandOf([...Array.from({ length: 30 }, () => "block" as const), "reopen", "step", "close", "spill", "spill"]),
  {
    minLength: 300,
    maxLength: 350,
  },
)

const spilling = fc.array(commandOf(["block", "block", "spill", "spill", "open", "write", "seal", "close", "apply"]), {
  minLength: 100,
  maxLength: 150,
})

const run = (options: WorldOptions, commands: ReadonlyArray<Command>): World => {
  const world = new World(options)
  for (const command of commands) world.run(command)
  world.reopen()
  return world
}

const variants = (["mmr", "mmb"] as const).flatMap((family) =>
  (["fixed", "variable"] as const).flatMap((encoding) =>
    [false, true].map((ordered) => ({ family, encoding, ordered })),
  ),
)

describe("INV-36, INV-37: any equals the specification", () => {
  for (const variant of variants) {
    const name = `${variant.ordered ? "ordered" : "unordered"}, ${variant.family}, ${variant.encoding}`
    it(`${name}: in any order of calls`, () => {
      fc.assert(
        fc.property(anyOrder, (commands) => void run(variant, commands)),
        { numRuns: 30 },
      )
    })

    it(`${name}: through hundreds of flushes, several rounds of the sweep and reopenings`, () => {
      fc.assert(
        fc.property(manyBlocks, (commands) => {
          expect(run({ ...variant, manyKeys: true }, commands).rounds).toBeGreaterThan(10)
        }),
        { numRuns: 3 },
      )
    })
  }
})

describe("INV-36: layers in scratch answer as those in memory", () => {
  for (const variant of variants) {
    const name = `${variant.ordered ? "ordered" : "unordered"}, ${variant.family}, ${variant.encoding}`
    it(`${name}: whatever becomes of them while they move, and nothing stays in scratch`, () => {
      let spilled = 0
      fc.assert(
        fc.property(spilling, (commands) => {
          const world = new World(variant)
          for (const command of commands) world.run(command)
          spilled += world.spilled
          world.end()
        }),
        { numRuns: 8 },
      )
      expect(spilled).toBeGreaterThan(0)
    })
  }
})

describe("canaries: the same commands catch", () => {
  const caught = (options: Partial<WorldOptions> = {}, given = anyOrder): void => {
    const outcome = fc.check(
      fc.property(
        fc.constantFrom(...variants),
        given,
        (variant, commands) => void run({ ...variant, ...options }, commands),
      ),
      { numRuns: 200, endOnFailure: true },
    )
    expect(outcome.failed).toBe(true)
  }

  it("a slot index that shows the newest entry to every branch", () => {
    const locate = SlotIndex.prototype.locate
    vi.spyOn(SlotIndex.prototype, "locate").mockImplementation(function (this: SlotIndex, slot: number, branch) {
      const everything = Object.assign(Object.create(branch), { sees: () => true }) as Branch<unknown>
      return locate.call(this, slot, everything)
    })
    caught()
  })

  it("a key index that shows the newest create to every branch", () => {
    const slotOf = KeyIndex.prototype.slotOf
    vi.spyOn(KeyIndex.prototype, "slotOf").mockImplementation(function (this: KeyIndex, bytes, from, to, branch) {
      const everything = Object.assign(Object.create(branch), { sees: () => true }) as Branch<unknown>
      return slotOf.call(this, bytes, from, to, everything)
    })
    caught()
  })

  it("closed layers that stay in the slot index", () => {
    vi.spyOn(SlotIndex.prototype, "forget").mockImplementation(() => {})
    vi.spyOn(KeyIndex.prototype, "forget").mockImplementation(() => {})
    vi.spyOn(SlotIndex.prototype, "merge").mockImplementation(() => {})
    caught()
  })

  it("a part that is moved to where another lies", () => {
    const { plan } = SpilledParts.prototype
    vi.spyOn(SpilledParts.prototype, "plan").mockImplementation(function (this: SpilledParts, part, changes) {
      Object.assign(this, { next: { operations: 0, owners: 0, nodes: 0 } })
      return plan.call(this, part, changes)
    })
    caught({}, spilling)
  })

  it("a part whose rows go before the layer is flushed", () => {
    vi.spyOn(SpilledParts.prototype, "removeReleased").mockImplementation(function (this: SpilledParts, changes) {
      this.rows.operations.trim(0, 1000, changes)
    })
    caught({}, spilling)
  })

  it("a sweep whose checkpoint runs ahead of what it wrote", () => {
    caught({
      damage: (rows: Rows) => {
        const space = new Space(homeOver(rows))
        const head = readHead(space)
        applyChanges(rows, [headChange(space, { ...head, checkpoint: head.size })])
      },
    })
  })
})

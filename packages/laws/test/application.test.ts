/**
 * Goal: the laws of applications can fail. Each has canaries that it rejects, and none rejects an application that is sound.
 * Method: a small application with one promise broken at a time, in ways that somebody could write by mistake.
 */
import { type ConsensusContext, Height, Round, View } from "@coppice/consensus"
import { Location } from "@coppice/qmdb"
import { Application, type HookTools } from "@coppice/stateful"
import { Cause, Effect, Exit } from "effect"
import { describe, expect, test } from "vitest"
import {
  APPLICATION_LAWS,
  type ApplicationSubject,
  type ApplicationWorld,
  standardLiar,
} from "../src/application/index.ts"
import type { AnySealed } from "../src/application/world.ts"
import { LawBroken } from "../src/index.ts"
import { applicationLaws } from "../src/vitest.ts"
import { ambientCanaries, floating } from "./support/ambient.ts"
import {
  type Addition,
  additions,
  changed,
  makeTally,
  type Tally,
  type TallyBatches,
  type TallyBlock,
  type TallyDatabases,
  tallies,
} from "./support/applications.ts"

applicationLaws("an application made of one transition", tallies(makeTally))

/** Takes a percentage of every addition, in whole numbers: other rules than those of the tally. */
const taxed = (percent: bigint): Tally =>
  makeTally({ count: ({ counts }, { name, amount }) => (counts.get(name) ?? 0n) - (amount * percent) / 100n })

const upgradedAt = (...heights: ReadonlyArray<number>): Tally =>
  Application.upgrade(
    makeTally(),
    heights.map((from, i) => ({ from: Height(from), application: taxed(BigInt(20 * (i + 1))) })),
  )

applicationLaws(
  "an application whose rules change at heights 2 and 4",
  tallies(() => upgradedAt(2, 4)),
)

/** The same application with hooks that are plain promises. */
const plain = changed((tally) => {
  const judge = async (block: TallyBlock, batches: TallyBatches, tools: HookTools<TallyDatabases>) => {
    const sums = new Map<string, bigint>()
    for (const { name, amount } of block.transactions) {
      const before = sums.get(name) ?? batches.counts.get(name) ?? 0n
      sums.set(name, before + amount)
      await Promise.resolve()
      if (before + amount > 50n) return undefined
      batches.counts.put(name, before + amount)
      const total = batches.totals.get(`${block.height}`) ?? 0n
      batches.totals.put(`${block.height}`, total + amount)
    }
    return Effect.runPromise(tools.seal(batches))
  }
  return {
    name: tally.name,
    apply: judge,
    verify: async (_context, ancestry, batches, tools) => {
      const block = await Effect.runPromise(ancestry.next)
      return block === undefined ? undefined : judge(block, batches, tools)
    },
  }
})

applicationLaws("an application of plain promises", plain)

const lawNamed = (start: string) => {
  const found = APPLICATION_LAWS.filter(({ name }) => name.startsWith(start))
  expect(found.length, start).toBe(1)
  return found[0]!
}

const withBlock = (change: (tally: Tally, block: TallyBlock) => TallyBlock): ApplicationSubject =>
  changed((tally) => ({
    propose: (context, ancestry, batches, tools) =>
      Effect.map(
        Effect.suspend(() => tally.propose(context, ancestry, batches, tools) as never),
        (proposal) => {
          const made = proposal as { readonly block: TallyBlock; readonly sealed: never }
          return { ...made, block: change(tally, made.block) }
        },
      ),
  }))

const shorter: ApplicationSubject = changed((tally) => ({
  apply: (block, batches, tools) => tally.apply(tally.blocks.make(block, block.transactions.slice(1)), batches, tools),
}))

const ofParent = withBlock((tally, block) =>
  tally.blocks.make({ ...block, targets: { ...block.targets, counts: block.targets.totals } }, block.transactions),
)

const tooHigh = withBlock((tally, block) =>
  tally.blocks.make({ ...block, height: Height(block.height + 1) }, block.transactions),
)

const STRANGER = new Uint8Array(32).fill(0xee)

const underContext = (change: (context: ConsensusContext) => ConsensusContext): ApplicationSubject =>
  withBlock((tally, block) => tally.blocks.make({ ...block, context: change(block.context) }, block.transactions))

/** Adds to its own proposals what it does not ask of anybody else's. */
const privileged = changed((tally) => ({
  propose: (context, ancestry, batches, tools) => {
    batches.totals.put("mine", 1n)
    return tally.propose(context, ancestry, batches, tools)
  },
}))

/** Has a choice of two encodings, and takes them in turn. */
const wavering = changed(({ codec }) => {
  let written = 0
  return {
    codec: {
      bytesMax: codec.bytesMax + 1,
      write: (writer, block) => {
        codec.write(writer, block)
        writer.u8(written++ % 2)
      },
      read: (reader) => {
        const block = codec.read(reader)
        reader.u8()
        return block
      },
    },
  }
})

/** Forgets the last transaction on its way to another node. */
const lossyCodec = changed(({ codec, blocks }) => ({
  codec: {
    ...codec,
    write: (writer, block) => codec.write(writer, blocks.make(block, block.transactions.slice(0, 1))),
  },
}))

/** Reads something else than was written, and hides it: what it has read it writes as it came. */
const misreading = (change: (block: TallyBlock) => Partial<TallyBlock>) =>
  changed(({ codec }) => {
    const written = new WeakMap<TallyBlock, TallyBlock>()
    return {
      codec: {
        ...codec,
        write: (writer, block) => codec.write(writer, written.get(block) ?? block),
        read: (reader) => {
          const block = codec.read(reader)
          const misread = { ...block, ...change(block) }
          written.set(misread, block)
          return misread
        },
      },
    }
  })

/** Finds every third block that it sees invalid. */
const moody = changed((tally) => {
  let seen = 0
  return {
    verify: (context, ancestry, batches, tools) =>
      ++seen % 3 === 0 ? Effect.succeed(undefined) : tally.verify(context, ancestry, batches, tools),
  }
})

/** What its `finalized` hook counted decides what the next block writes. */
const hookCounting = (() => {
  return tallies(() => {
    let hooks = 0
    const tally = makeTally({ begin: ({ totals }) => totals.put("hooks", BigInt(hooks)) })
    const withInputs: Tally["withInputs"] = (inputs) => ({
      ...tally.withInputs(inputs),
      finalized: async () => void hooks++,
    })
    return { ...tally, withInputs }
  })
})()

/** Remembers sums by name, whatever fork they belong to. */
const caching = tallies(() => {
  const sums = new Map<string, bigint>()
  return makeTally({
    count: ({ counts }, { name, amount }: Addition) => {
      const before = sums.get(name) ?? counts.get(name) ?? 0n
      sums.set(name, before + amount > 50n ? before : before + amount)
      return before
    },
  })
})

/** Writes once more after sealing, and hides that this was refused. */
const lateWriter = changed((tally) => ({
  verify: (context, ancestry, batches, tools) =>
    Effect.tap(
      Effect.suspend(() => tally.verify(context, ancestry, batches, tools) as Effect.Effect<never>),
      () =>
        Effect.sync(() => {
          try {
            batches.counts.put("late", 1n)
          } catch {}
        }),
    ),
}))

/** Takes a lock that it gives back only when it comes to its end. */
const locking = (whenBusy: Effect.Effect<undefined>) =>
  changed((tally) => {
    let isBusy = false
    return {
      verify: (context, ancestry, batches, tools) =>
        Effect.gen(function* () {
          if (isBusy) return yield* whenBusy
          isBusy = true
          yield* Effect.yieldNow
          const sealed = yield* tally.verify(context, ancestry, batches, tools) as Effect.Effect<never>
          isBusy = false
          return sealed
        }),
    }
  })

/** Counts blocks in memory and writes the count. */
const remembering = tallies(() => {
  const heights = new Set<number>()
  return makeTally({
    begin: ({ totals }, { height }) => {
      if (heights.has(height)) totals.put("again", BigInt(height))
      heights.add(height)
    },
  })
})

/** Judges as the tally does, but for a block with a transaction that cannot happen: that is `otherwise`. */
const onRejected = (otherwise: (seen: Set<string>, digest: string) => Effect.Effect<"seal" | "refuse">) =>
  changed((tally) => {
    const seen = new Set<string>()
    return {
      verify: (context, ancestry, batches, tools) =>
        Effect.gen(function* () {
          const block = (yield* ancestry.next)!
          const again = { next: Effect.succeed(block) }
          const sealed = yield* tally.verify(context, again, batches, tools) as Effect.Effect<AnySealed | undefined>
          if (sealed !== undefined) return sealed as never
          const digest = block.digest.join()
          const answer = yield* otherwise(seen, digest)
          seen.add(digest)
          return answer === "refuse" ? undefined : yield* tools.seal(batches)
        }),
    }
  })

/** Executes again what was judged, without looking for what cannot happen: "it was final, so it must have been valid". */
const trusting = changed(() => ({
  apply: (block, batches, tools) => {
    for (const { name, amount } of block.transactions) {
      batches.counts.put(name, (batches.counts.get(name) ?? 0n) + amount)
      const total = batches.totals.get(`${block.height}`) ?? 0n
      batches.totals.put(`${block.height}`, total + amount)
    }
    return tools.seal(batches)
  },
}))

/** Changes its rules for good when it first sees their height, so that it replays old blocks by new rules. */
const activating = tallies(() => {
  let isActive = false
  return makeTally({
    begin: (_batches, { height }) => {
      isActive ||= height >= 3
    },
    count: ({ counts }, { name, amount }) => (counts.get(name) ?? 0n) - (isActive ? amount / 2n : 0n),
  })
})

const sound = tallies(makeTally)
const withoutLies = (world: ApplicationWorld): ApplicationWorld => ({
  ...world,
  liar: { ...world.liar!, corrupt: () => [] },
})

/** Canaries of each law, which is named by the words its name begins with. */
const CANARIES: ReadonlyArray<[string, ReadonlyArray<[string, ApplicationSubject]>]> = [
  [
    "a block is the same state",
    [
      ["leaves the first transaction out", shorter],
      ["writes more when it proposes", privileged],
    ],
  ],
  [
    "a block commits to",
    [
      ["names targets of another member", ofParent],
      ["is one height too high", tooHigh],
      ["names another leader", underContext((context) => ({ ...context, leader: STRANGER }))],
      [
        "names another parent",
        underContext((context) => ({ ...context, parent: { ...context.parent, digest: STRANGER } })),
      ],
    ],
  ],
  [
    "a block survives its encoding",
    [
      ["loses transactions", lossyCodec],
      ["has two encodings of one block", wavering],
      ["reads another height", misreading(({ height }) => ({ height: Height(height + 1) }))],
      ["reads another parent", misreading(() => ({ parent: STRANGER }))],
      ["reads another leader", misreading(({ context }) => ({ context: { ...context, leader: STRANGER } }))],
      ["reads other targets", misreading(({ targets }) => ({ targets: { ...targets, counts: targets.totals } }))],
    ],
  ],
  [
    "a block that is not as it should be",
    [
      ["dies of a transaction that cannot happen", onRejected(() => Effect.die("full"))],
      ["waits for ever on a transaction that cannot happen", onRejected(() => Effect.never)],
      [
        "refuses it once",
        onRejected((seen, digest) => Effect.succeed(seen.has(digest) ? ("seal" as const) : ("refuse" as const))),
      ],
      ["applies what it refuses", trusting],
      ["is shown no bad block", { ...sound, make: (seed) => Effect.map(sound.make(seed), withoutLies) }],
    ],
  ],
  [
    "a verdict is stable",
    [
      ["changes its mind", moody],
      ["counts hooks", hookCounting],
    ],
  ],
  ["a fork that is dropped", [["keeps sums of a dropped fork", caching]]],
  [
    "hooks keep the order",
    [
      ["writes after sealing", lateWriter],
      ["reads after its end", floating],
    ],
  ],
  [
    "interrupted wherever",
    [
      ["finds a block invalid while it is busy", locking(Effect.succeed(undefined))],
      ["waits for a run that was interrupted", locking(Effect.never)],
    ],
  ],
  [
    "replayed from genesis",
    [
      ["knows which heights it has seen", remembering],
      ["replays by the rules of today", activating],
    ],
  ],
  ["the state after a block does not depend", ambientCanaries],
]

describe.each(CANARIES)("the law that %s", (start, canaries) => {
  test.each(canaries)("rejects an application that %s", async (_name, subject) => {
    const exit = await Effect.runPromiseExit(lawNamed(start).check(subject))
    expect(Exit.isFailure(exit) && Cause.squash(exit.cause)).toBeInstanceOf(LawBroken)
  })
})

test("F2 a liar lies about every part of every target, one at a time", () => {
  const { blocks } = makeTally()
  const target = { root: STRANGER, start: Location(2), end: Location(9) }
  const context = { round: Round(0, 3), leader: STRANGER, parent: { view: View(2), digest: STRANGER } }
  const good = blocks.make({ height: Height(3), context, targets: { counts: target, totals: target } }, [])
  const parts = (["counts", "totals"] as const).flatMap((member) =>
    (["root", "start", "end"] as const).map((part) => ({ member, part })),
  )
  const lies = standardLiar(makeTally(), additions, () => 0).corrupt(good)
  const told = lies.flatMap(([, { targets }]) => {
    const wrong = parts.filter(({ member, part }) => `${targets[member][part]}` !== `${target[part]}`)
    return wrong.length === 0 ? [] : [wrong]
  })
  expect(told).toEqual(parts.map((place) => [place]))
})

test("INV-40 and every other law has a canary", () => {
  expect(new Set(CANARIES.map(([start]) => lawNamed(start)))).toEqual(new Set(APPLICATION_LAWS))
})

/**
 * Goal: a node that comes to another state than a block says leaves one file, from which the first operation that went
 * wrong can be named without the node.
 * Method: real sets and executors; a node with a planted bug meets blocks of a sound one, by every way a state is checked.
 */
import { nobleHasher } from "@coppice/crypto"
import { Location } from "@coppice/qmdb"
import { Clock, Effect, Fiber } from "effect"
import * as fc from "fast-check"
import { describe, expect, test } from "vitest"
import { differenceOn } from "../src/diagnosis/executions.ts"
import {
  CallPlayer,
  CallRecorder,
  type Divergence,
  readDivergence,
  replayDivergence,
  runHook,
  writeDivergence,
} from "../src/diagnosis/index.ts"
import { fromPlain, toPlain } from "../src/diagnosis/plain-values.ts"
import { DIVERGENCE_CALLS_BYTES_MAX, DIVERGENCE_FILE_BYTES_MAX, DIVERGENCE_FILES_MAX } from "../src/index.ts"
import { type Addition, Blocks, divergenceOfBug, makeTally, openTallyNode, type TallyBlock } from "./support/tally.ts"

const ADDITIONS: ReadonlyArray<Addition> = [
  { name: "a", amount: 1n },
  { name: "bad", amount: 2n },
  { name: "a", amount: 3n },
]

/** A sound node and a faulty one on one chain, with a sound block. */
const world = Effect.fnUntraced(function* (isGuarded = false) {
  const blocks = new Blocks()
  const sound = yield* openTallyNode(blocks, makeTally({ inputs: ADDITIONS }))
  const faulty = yield* openTallyNode(blocks, makeTally({ hasBug: true }), isGuarded)
  const genesis = blocks.add(makeTally().genesis(sound.set.tip.targets))
  const block = blocks.add((yield* sound.propose(genesis, 1))!)
  return { blocks, sound, faulty, genesis, block }
})

/** The bug, as an operation of the log: `bad` comes after `a`, which comes after the genesis commit. */
const BUG = {
  tag: "operation",
  member: "counts",
  location: 2,
  one: { tag: "update", key: "bad", value: { $int: "3" }, nextKey: { $none: true } },
  other: { tag: "update", key: "bad", value: { $int: "2" }, nextKey: { $none: true } },
}

const claimNamesBug = Effect.fnUntraced(function* (divergence: Divergence | undefined, block: TallyBlock) {
  expect(divergence).toBeDefined()
  expect(divergence!.digest).toBe(Buffer.from(block.digest).toString("hex"))
  const found = yield* replayDivergence(makeTally(), divergence!, nobleHasher)
  expect(found).toMatchObject({
    calls: {
      tag: "call",
      recorded: { member: "counts", method: "put", args: ["bad", { $int: "3" }] },
      replayed: { member: "counts", method: "put", args: ["bad", { $int: "2" }] },
    },
    ended: { recorded: "sealed", replayed: "sealed" },
    state: { isHeader: true, equals: [], damaged: [], differences: [BUG] },
    between: undefined,
  })
  expect(found.state!.targets).toEqual(
    Object.fromEntries(divergence!.members.map(({ name, header }) => [name, header])),
  )
  const again = yield* replayDivergence(makeTally({ hasBug: true }), divergence!, nobleHasher)
  expect(again).toMatchObject({
    calls: undefined,
    state: { isHeader: false, equals: [0, 1], damaged: [], differences: [] },
    between: undefined,
  })
})

const run = (effect: Effect.Effect<unknown, unknown>) =>
  Effect.runPromise(Effect.asVoid(effect as Effect.Effect<unknown>))

describe("the right code computes the header's roots and names the first operation, the wrong code reproduces", () => {
  test("F2: a block that is verified", () =>
    run(
      Effect.scoped(
        Effect.gen(function* () {
          const { faulty, block } = yield* world()
          expect(yield* faulty.verify(block)).toBe(false)
          const [divergence, ...others] = yield* faulty.bundles
          expect(others).toEqual([])
          expect(divergence).toMatchObject({ hook: "verify", reason: "commitment", height: 1, parent: { height: 0 } })
          expect(faulty.set.layers).toBe(0)
          yield* claimNamesBug(divergence, block)
        }),
      ),
    ))

  test("F12: an ancestor that is recovered", () =>
    run(
      Effect.gen(function* () {
        const { blocks, sound, faulty, block } = yield* world()
        const child = blocks.add((yield* sound.propose(block, 2))!)
        expect(yield* faulty.verify(child)).toBe(false)
        const [divergence] = yield* faulty.bundles
        expect(divergence).toMatchObject({ hook: "apply", height: 1 })
        yield* claimNamesBug(divergence, block)
      }),
    ))

  test("F24: a finalized block, before the node stops", () =>
    run(
      Effect.gen(function* () {
        const { faulty, block } = yield* world()
        const stopped = yield* Effect.forkChild(Effect.flip(faulty.stopped))
        yield* faulty.finalize(block)
        expect(yield* Fiber.join(stopped)).toMatchObject({ _tag: "FinalizedCommitmentMismatch", member: "counts" })
        const [divergence] = yield* faulty.bundles
        expect(divergence).toMatchObject({ hook: "apply", height: 1 })
        yield* claimNamesBug(divergence, block)
      }),
    ))

  test("F1: a proposal that does not match its own block", () =>
    run(
      Effect.gen(function* () {
        const blocks = new Blocks()
        const sound = makeTally({ inputs: ADDITIONS })
        const lying = makeTally({ hasBug: true, inputs: ADDITIONS })
        const helper = yield* openTallyNode(blocks, sound)
        const genesis = blocks.add(sound.genesis(helper.set.tip.targets))
        const honest = (yield* helper.propose(genesis, 1))!
        const { propose } = lying
        const node = yield* openTallyNode(blocks, {
          ...lying,
          propose: (...asked) =>
            Effect.map(
              runHook(() => propose(...asked)),
              (proposal) => proposal && { ...proposal, block: honest },
            ),
        })
        const stopped = yield* Effect.forkChild(Effect.flip(node.stopped))
        yield* Effect.forkChild(Effect.exit(node.propose(genesis, 1)))
        expect(yield* Fiber.join(stopped)).toMatchObject({ _tag: "ProposalCommitmentMismatch" })
        const [divergence] = yield* node.bundles
        expect(divergence).toMatchObject({ hook: "propose" })
        yield* claimNamesBug(divergence, honest)
      }),
    ))
})

test("a bundle has what every member was, should be, and became in each execution, operation by operation", () =>
  run(
    Effect.gen(function* () {
      const { faulty, block } = yield* world()
      yield* faulty.verify(block)
      const [divergence] = yield* faulty.bundles
      const [counts, names] = divergence!.members
      expect(counts).toMatchObject({
        name: "counts",
        format: makeTally().databases.counts.format,
        header: { root: Buffer.from(block.targets.counts.root).toString("hex") },
      })
      const { executions, omitted } = divergence!
      expect(executions.map(({ of }) => of)).toEqual(["hook", "record"])
      expect(executions[0]!.members).toEqual(executions[1]!.members)
      const [made, named] = executions[0]!.members
      expect(made!.target).not.toEqual(counts!.header)
      expect(named!.target).toEqual(names!.header)
      expect(made!.operations.split(" ")).toHaveLength(made!.target.end - counts!.parent.end)
      expect(omitted).toEqual([])
    }),
  ))

test("a difference that the guard finds leaves a bundle too", () =>
  run(
    Effect.gen(function* () {
      const blocks = new Blocks()
      const sound = yield* openTallyNode(blocks, makeTally({ inputs: ADDITIONS }))
      let runs = 0n
      const tally = makeTally()
      const moody = {
        ...tally,
        verify: (_context: never, ancestry: never, batches: never, tools: never) => {
          ;(batches as { readonly counts: { readonly put: (key: string, value: bigint) => void } }).counts.put(
            "run",
            ++runs,
          )
          return tally.verify(_context, ancestry, batches, tools)
        },
      }
      const node = yield* openTallyNode(blocks, moody as never, true)
      const genesis = blocks.add(tally.genesis(sound.set.tip.targets))
      const block = blocks.add((yield* sound.propose(genesis, 1))!)
      const stopped = yield* Effect.forkChild(Effect.flip(node.stopped))
      yield* Effect.forkChild(Effect.exit(node.verify(block)))
      expect(yield* Fiber.join(stopped)).toMatchObject({
        _tag: "ApplicationFault",
        cause: { _tag: "NonDeterministic", operation: { tag: "operation", member: "counts", location: 3 } },
      })
      const [divergence] = yield* node.bundles
      expect(divergence).toMatchObject({ hook: "verify", reason: "determinism" })
      expect(divergence!.executions.map(({ of }) => of)).toEqual(["hook", "guard", "record"])
      const found = yield* replayDivergence(tally, divergence!, nobleHasher)
      expect(found).toMatchObject({
        state: { equals: [2], isHeader: true, differences: [] },
        between: {
          execution: 1,
          differences: [
            {
              member: "counts",
              one: { key: "run", value: { $int: "1" } },
              other: { key: "run", value: { $int: "2" } },
            },
          ],
        },
      })
    }),
  ))

test("a node writes no more bundles than it may, and its verdicts go on", () =>
  run(
    Effect.gen(function* () {
      const { blocks, sound, faulty, genesis } = yield* world()
      for (let view = 2; view < DIVERGENCE_FILES_MAX + 6; view++) {
        const block = blocks.add((yield* sound.propose(genesis, view))!)
        expect(yield* faulty.verify(block)).toBe(false)
      }
      expect(faulty.files.size).toBe(DIVERGENCE_FILES_MAX)
    }),
  ))

test("an execution that does not end the second time takes nothing from the verdict", () =>
  run(
    Effect.gen(function* () {
      const { blocks, block } = yield* world()
      const faulty = { ...makeTally({ hasBug: true }), apply: () => Effect.never }
      const hasty: Clock.Clock = Object.assign(Object.create(yield* Clock.Clock), { sleep: () => Effect.yieldNow })
      const node = yield* openTallyNode(blocks, faulty).pipe(Effect.provideService(Clock.Clock, hasty))
      expect(yield* node.verify(block)).toBe(false)
      expect(node.files.size).toBe(0)
    }),
  ))

test("the execution for the record ends with the hook it is for, before the state under both can go", () =>
  run(
    Effect.gen(function* () {
      const { blocks, block } = yield* world()
      const tally = makeTally({ hasBug: true })
      const ended: boolean[] = []
      let whole: AbortSignal | undefined
      let isRecording = false
      const node = yield* openTallyNode(blocks, {
        ...tally,
        verify: (context, ancestry, batches, tools) => {
          whole = tools.signal
          return tally.verify(context, ancestry, batches, tools)
        },
        apply: (_block, _batches, { signal }) => {
          whole!.addEventListener("abort", () => void ended.push(signal.aborted))
          isRecording = true
          return Effect.never
        },
      })
      const verifying = yield* Effect.forkChild(node.verify(block), { startImmediately: true })
      while (!isRecording) yield* Effect.yieldNow
      yield* Fiber.interrupt(verifying)
      while (!whole!.aborted) yield* Effect.yieldNow
      expect(ended).toEqual([true])
      expect(node.set.layers).toBe(0)
    }),
  ))

test.each([
  ["one", [3, 2], { tag: "cut", location: 7 }],
  ["other", [2, 3], { tag: "cut", location: 7 }],
  ["both", [3, 3], { tag: "cut", location: 7 }],
  ["none", [2, 2], { tag: "root", location: 7 }],
] as const)(
  "where the operations of %s are cut nothing is said of what comes after",
  (_which, [one, other], expected) => {
    const operations = [Uint8Array.of(1), Uint8Array.of(2)]
    const of = (made: number, root: number) => ({
      target: { root: new Uint8Array(32).fill(root), start: Location(0), end: Location(5 + made) },
      operations,
    })
    expect(differenceOn(makeTally().databases, "counts", 5, of(one, 1), of(other, 2))).toEqual({
      member: "counts",
      ...expected,
    })
  },
)

test("a sound block leaves nothing", () =>
  run(
    Effect.gen(function* () {
      const { sound, block } = yield* world()
      expect(yield* sound.verify(block)).toBe(true)
      yield* sound.finalize(block)
      expect(sound.files.size).toBe(0)
    }),
  ))

describe("reading a bundle", () => {
  test("gives what was written", () =>
    run(
      Effect.map(divergenceOfBug(ADDITIONS), ({ divergence, text }) => {
        expect(writeDivergence(divergence)).toBe(text)
      }),
    ))

  const CHECKED: ReadonlyArray<readonly [string, (text: string) => string, string]> = [
    ["of nothing", () => "", "does not begin"],
    ["of something else", () => "{}", "does not begin"],
    ["that is cut at its end", (text) => text.slice(0, -1), "is cut"],
    ["that is cut in its middle", (text) => text.slice(0, text.length / 2), "is cut"],
    ["that is cut after its first line", (text) => text.slice(0, 3), "is cut"],
    ["of which one digit changed", (text) => text.replace(/(?<="pins": ")|(?<="root": ")./, "x"), "was changed"],
    ["of which a call changed", (text) => text.replace('"bad",{"$int":"3"}', '"bad",{"$int":"2"}'), "was changed"],
    ["whose checksum changed", (text) => text.replace(/(?<="checksum": ")./, "x"), "was changed"],
    ["of an earlier format", (text) => text.replace('"format": 2', '"format": 1'), "format is 1, this program reads 2"],
  ]
  for (const [what, change, reason] of CHECKED) {
    test(`refuses a file ${what}`, () =>
      run(
        Effect.gen(function* () {
          const { text } = yield* divergenceOfBug(ADDITIONS)
          const changed = change(text)
          expect(changed).not.toBe(text)
          expect((yield* Effect.flip(readDivergence(changed))).reason).toContain(reason)
        }),
      ))
  }

  test("refuses a file that is longer than any bundle", () =>
    run(
      Effect.gen(function* () {
        const { text } = yield* divergenceOfBug(ADDITIONS)
        const long = text.replace("{\n", `{\n${" ".repeat(DIVERGENCE_FILE_BYTES_MAX)}`)
        expect((yield* Effect.flip(readDivergence(long))).reason).toContain("a bundle has at most")
      }),
    ))

  const ODD: ReadonlyArray<readonly [string, (bundle: Divergence) => object]> = [
    ["an unknown field", (bundle) => ({ ...bundle, more: 1 })],
    ["a missing field", ({ chain: _, ...bundle }) => bundle],
    ["an execution of fewer members", (b) => ({ ...b, executions: [{ of: "hook", members: [] }] })],
    ["a location that is none", (b) => ({ ...b, height: -1 })],
    ["bytes that are not hex", (b) => ({ ...b, block: "xy" })],
    ["half a byte", (b) => ({ ...b, block: "0" })],
  ]
  for (const [what, change] of ODD) {
    test(`refuses ${what}, checksum or not`, () =>
      run(
        Effect.gen(function* () {
          const { divergence } = yield* divergenceOfBug(ADDITIONS)
          const text = writeDivergence(change(divergence) as Divergence)
          expect(yield* Effect.flip(readDivergence(text))).toMatchObject({ _tag: "DivergenceUnreadable" })
        }),
      ))
  }

  const FOREIGN: ReadonlyArray<readonly [string, (bundle: Divergence) => Divergence]> = [
    ["another application's", (bundle) => ({ ...bundle, application: "other" })],
    ["of other members", (bundle) => ({ ...bundle, members: bundle.members.toReversed() })],
    ["of databases in another format", (b) => ({ ...b, members: b.members.map((m) => ({ ...m, format: "none" })) })],
    ["whose block does not decode", (bundle) => ({ ...bundle, block: bundle.block.slice(2) })],
    ["of another block than it says", (bundle) => ({ ...bundle, digest: bundle.parent.digest })],
    ["whose state is none", (b) => withState(b, (state) => ({ ...state, operations: `${state.operations} ff` }))],
    ["whose state lacks a peak", (b) => withState(b, (state) => ({ ...state, start: 1 }))],
  ]
  for (const [what, change] of FOREIGN) {
    test(`a bundle ${what} is not replayed`, () =>
      run(
        Effect.gen(function* () {
          const { divergence } = yield* divergenceOfBug(ADDITIONS)
          const refused = yield* Effect.flip(replayDivergence(makeTally(), change(divergence), nobleHasher))
          expect(refused).toMatchObject({ _tag: "DivergenceUnreadable" })
        }),
      ))
  }
})

type State = NonNullable<Divergence["members"][number]["state"]>

const withState = (bundle: Divergence, change: (state: State) => State | null): Divergence => ({
  ...bundle,
  members: bundle.members.map((member) => ({ ...member, state: member.state && change(member.state) })),
})

describe("a bundle without the state below the block is replayed over its answers", () => {
  const withoutState = Effect.map(divergenceOfBug(ADDITIONS), ({ divergence }) => withState(divergence, () => null))

  test("which name the first call that differs, and no roots", () =>
    run(
      Effect.gen(function* () {
        const bundle = yield* withoutState
        const found = yield* replayDivergence(makeTally(), bundle, nobleHasher)
        expect(found).toMatchObject({
          calls: { tag: "call", recorded: { method: "put", args: ["bad", { $int: "3" }] } },
          state: undefined,
        })
        const again = yield* replayDivergence(makeTally({ hasBug: true }), bundle, nobleHasher)
        expect(again).toMatchObject({ calls: undefined, ended: { recorded: "sealed", replayed: "sealed" } })
      }),
    ))

  test("which name the recorded call that the code does not make any more", () =>
    run(
      Effect.gen(function* () {
        const bundle = yield* withoutState
        const call = { member: "counts", method: "get", args: ["c"], returned: { $none: true } } as const
        const longer = { ...bundle, calls: [...bundle.calls, call] }
        const { returned: _, ...recorded } = call
        expect(yield* replayDivergence(makeTally({ hasBug: true }), longer, nobleHasher)).toMatchObject({
          calls: { tag: "call", at: bundle.calls.length, recorded, replayed: undefined },
        })
      }),
    ))

  test("and a record that was cut says so, and names nothing beyond its end, with the state or without", () =>
    run(
      Effect.gen(function* () {
        const { divergence } = yield* divergenceOfBug(ADDITIONS)
        for (const bundle of [divergence, withState(divergence, () => null)]) {
          const at = bundle.calls.findIndex(({ method, args }) => method === "put" && args?.[0] === "bad")
          const cut = { ...bundle, calls: bundle.calls.slice(0, at), complete: false }
          expect((yield* replayDivergence(makeTally(), cut, nobleHasher)).calls).toEqual({ tag: "cut", at })
        }
      }),
    ))
})

describe("a damaged database is told from wrong code", () => {
  test("its state does not give the parent's root", () =>
    run(
      Effect.gen(function* () {
        const { divergence } = yield* divergenceOfBug(ADDITIONS)
        // Another floor in the last commit of `names`: still a state, but not the one that the header names.
        const damaged = withState(divergence, (state) => state)
        const [counts, names] = damaged.members
        const other = { ...names!.state!, operations: `${names!.state!.operations} 010000` }
        const bundle = { ...damaged, members: [counts!, { ...names!, state: other }] }
        const found = yield* replayDivergence(makeTally(), bundle, nobleHasher)
        expect(found.state).toMatchObject({ damaged: ["names"], isHeader: false })
      }),
    ))

  test("or its answers are not those of its own log", () =>
    run(
      Effect.gen(function* () {
        const { divergence } = yield* divergenceOfBug(ADDITIONS)
        const at = divergence.calls.findIndex(({ method }) => method === "get")
        const calls = divergence.calls.map((call, i) => (i === at ? { ...call, returned: { $int: "77" } } : call))
        const found = yield* replayDivergence(makeTally({ hasBug: true }), { ...divergence, calls }, nobleHasher)
        expect(found.calls).toMatchObject({
          tag: "answer",
          at,
          recorded: { returned: { $int: "77" } },
          replayed: { returned: { $none: true } },
        })
      }),
    ))
})

test("any key and value survives the way into a bundle and back", () => {
  const leaf = fc.oneof(
    fc.bigInt(),
    fc.uint8Array(),
    fc.string(),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.constant(undefined),
  )
  const names = fc.string().filter((name) => !name.startsWith("$") && name !== "__proto__")
  const value = fc.letrec((tie) => ({
    value: fc.oneof({ depthSize: "small" }, leaf, fc.array(tie("value")), fc.dictionary(names, tie("value"))),
  })).value
  fc.assert(
    fc.property(value, (given) => {
      const plain = JSON.parse(JSON.stringify(toPlain(given))) as ReturnType<typeof toPlain>
      expect(toPlain(fromPlain(plain))).toEqual(toPlain(given))
      expect(fromPlain(plain)).toEqual(given)
    }),
  )
})

test("a record ends at its bound, and at what is no data, and says so", () => {
  const large = new CallRecorder()
  const value = new Uint8Array(1 << 20)
  for (let i = 0; i < 20; i++) large.intercept("m", "get", [i], () => value)
  expect(large.log.complete).toBe(false)
  expect(JSON.stringify(large.log.calls).length).toBeLessThanOrEqual(DIVERGENCE_CALLS_BYTES_MAX)
  expect(large.log.calls).toHaveLength(7)
  const odd = new CallRecorder()
  odd.intercept("m", "get", [1], () => 2)
  odd.intercept("m", "get", [() => 3], () => 4)
  odd.intercept("m", "get", [5], () => 6)
  expect(odd.log).toEqual({ complete: false, calls: [{ member: "m", method: "get", args: [1], returned: 2 }] })
})

test("an error of the databases is thrown again as one of its class", () => {
  const thrown = { name: "KeyTooLong", message: "long", fields: { _tag: "KeyTooLong", actual: 9, allowed: 8 } }
  const player = new CallPlayer({ calls: [{ member: "m", method: "put", args: [], thrown }], complete: true })
  const { m } = player.batches<never>(["m"]) as unknown as { readonly m: { readonly put: () => void } }
  expect(() => m.put()).toThrow(expect.objectContaining({ _tag: "KeyTooLong", actual: 9 }))
  expect(() => m.put()).toThrow("is not the one recorded")
})

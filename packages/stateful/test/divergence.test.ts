/**
 * Goal: a node that comes to another state than a block says leaves one file, from which the first operation that went
 * wrong can be named without the node.
 * Method: real sets and executors; a node with a planted bug meets blocks of a sound one, by every way a state is checked.
 */
import { Clock, Effect, Fiber } from "effect"
import * as fc from "fast-check"
import { describe, expect, test } from "vitest"
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
import { DIVERGENCE_CALLS_BYTES_MAX, DIVERGENCE_FILES_MAX } from "../src/index.ts"
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

const claimNamesBug = Effect.fnUntraced(function* (divergence: Divergence | undefined, block: TallyBlock) {
  expect(divergence).toBeDefined()
  expect(divergence!.digest).toBe(Buffer.from(block.digest).toString("hex"))
  const found = yield* replayDivergence(makeTally(), divergence!)
  expect(found).toMatchObject({
    tag: "differs",
    recorded: { member: "counts", method: "put", args: ["bad", { $int: "3" }] },
    replayed: { member: "counts", method: "put", args: ["bad", { $int: "2" }] },
  })
  expect(yield* replayDivergence(makeTally({ hasBug: true }), divergence!)).toEqual({
    tag: "reproduced",
    calls: divergence!.calls.length,
  })
})

const run = (effect: Effect.Effect<unknown, unknown>) =>
  Effect.runPromise(Effect.asVoid(effect as Effect.Effect<unknown>))

describe("the right code names the first operation that differs, the wrong code reproduces", () => {
  test("F2: a block that is verified", () =>
    run(
      Effect.scoped(
        Effect.gen(function* () {
          const { faulty, block } = yield* world()
          expect(yield* faulty.verify(block)).toBe(false)
          const [divergence, ...others] = yield* faulty.bundles
          expect(others).toEqual([])
          expect(divergence).toMatchObject({ hook: "verify", reason: "commitment", height: 1, parent: { height: 0 } })
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

test("a bundle has the roots of every member: of the parent, of the header, of each execution", () =>
  run(
    Effect.gen(function* () {
      const { faulty, block } = yield* world()
      yield* faulty.verify(block)
      const [divergence] = yield* faulty.bundles
      const [counts, names] = divergence!.members
      expect(counts).toMatchObject({
        name: "counts",
        header: { root: Buffer.from(block.targets.counts.root).toString("hex") },
      })
      expect(counts!.states).toHaveLength(2)
      expect(counts!.states[0]).toEqual(counts!.states[1])
      expect(counts!.states[0]).not.toEqual(counts!.header)
      expect(names!.states[0]).toEqual(names!.header)
      expect(counts!.appended).toBe(block.targets.counts.end - faulty.set.tip.targets.counts.end)
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
        cause: { _tag: "NonDeterministic" },
      })
      const [divergence] = yield* node.bundles
      expect(divergence).toMatchObject({ hook: "verify", reason: "determinism" })
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

  test("refuses what was not written by this program, and another application's", () =>
    run(
      Effect.gen(function* () {
        const { divergence, text } = yield* divergenceOfBug(ADDITIONS)
        for (const bad of ["", "{}", text.slice(0, -20), text.replace('"format": 1', '"format": 2')]) {
          expect(yield* Effect.flip(readDivergence(bad))).toMatchObject({ _tag: "DivergenceUnreadable" })
        }
        const foreign = { ...makeTally(), name: "other" }
        expect(yield* Effect.flip(replayDivergence(foreign, divergence))).toMatchObject({
          _tag: "DivergenceUnreadable",
        })
        const garbled = { ...divergence, block: divergence.block.slice(2) }
        expect(yield* Effect.flip(replayDivergence(makeTally(), garbled))).toMatchObject({
          _tag: "DivergenceUnreadable",
        })
      }),
    ))

  test("a record that was cut says so, and names nothing beyond its end", () =>
    run(
      Effect.gen(function* () {
        const { divergence } = yield* divergenceOfBug(ADDITIONS)
        const at = divergence.calls.findIndex(({ method, args }) => method === "put" && args?.[0] === "bad")
        const cut = { ...divergence, calls: divergence.calls.slice(0, at), complete: false }
        expect(yield* replayDivergence(makeTally(), cut)).toEqual({ tag: "cut", calls: at })
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

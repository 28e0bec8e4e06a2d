/**
 * Goal: no false claim is accepted, and each check of the verifier is the one that stops some of them.
 * Method: forge true claims in every way that a peer could (a bit, a digest, a count, a place, a length, a pin), over random
 * trees of both families, and count rejections by reason. The oracle that finds accepted forgeries is itself tested:
 * verifiers that skip one check each must be caught by it.
 */
import { bytesEqual } from "@coppice/codec"
import { type Digest, nobleHasher } from "@coppice/crypto"
import fc from "fast-check"
import { expect, test } from "vitest"
import {
  type Bagging,
  checkRangeProof,
  checkRangeWithPins,
  type Family,
  Location,
  mmb,
  mmr,
  type ProofRejection,
  pinPositions,
  type RangeClaim,
  rangeProof,
  root as rootOf,
  verifyRangeProof,
  verifyRangeWithPins,
} from "../src/index.ts"
import { element } from "./model.ts"
import { elements, type Tree, treeOf } from "./tree.ts"

/** What a verifier is shown: what is claimed, the pins, and the root that it trusts. */
interface Case {
  readonly claim: RangeClaim
  readonly pins: ReadonlyArray<Digest>
  readonly root: Digest
}

interface Forgery extends Case {
  readonly kind: string
}

type Verifier = (shown: Case, honest: Case) => ProofRejection | undefined

const sound: Verifier = ({ claim, pins, root }) => checkRangeWithPins(nobleHasher, claim, pins, root)

const LEAVES_MAX = 70
const trees = new Map<string, Tree>()
const treeWith = (family: Family, leaves: number): Tree => {
  const key = `${family.name} ${leaves}`
  const tree = trees.get(key) ?? treeOf(family, elements(leaves))
  trees.set(key, tree)
  return tree
}

const cases = fc
  .record({
    family: fc.constantFrom(mmr, mmb),
    leaves: fc.integer({ min: 1, max: LEAVES_MAX }),
    bagging: fc.constantFrom<Bagging>("forward", "backward"),
    a: fc.nat(),
    b: fc.nat(),
    inactive: fc.nat(),
    salt: fc.nat(1000),
  })
  .map(({ family, leaves, bagging, a, b, inactive, salt }): { honest: Case; salt: number } => {
    const { frontier, at, node } = treeWith(family, leaves)
    const start = Location(a % leaves)
    const end = Location(start + 1 + (b % Math.min(leaves - start, 9)))
    const shape = { leaves: Location(leaves), inactivePeaks: inactive % (frontier.peaks.length + 1), bagging }
    const proof = rangeProof(nobleHasher, family, shape, { start, end }, node)
    return {
      honest: {
        claim: { family, bagging, proof, start, elements: elements(end).slice(start) },
        pins: pinPositions(family, start).map(at),
        root: rootOf(nobleHasher, frontier, shape.inactivePeaks, bagging),
      },
      salt,
    }
  })

const flip = (bytes: Uint8Array, bit: number): Uint8Array => {
  const flipped = bytes.slice()
  flipped[Math.floor(bit / 8) % bytes.length]! ^= 1 << (bit % 8)
  return flipped
}

/** Ways to forge a list of byte strings; what is claimed about each is false. */
function* forgedLists(list: ReadonlyArray<Uint8Array>, salt: number): Generator<[string, ReadonlyArray<Uint8Array>]> {
  for (const i of list.keys()) {
    yield ["bit flipped", list.with(i, flip(list[i]!, salt + i * 37))]
    yield ["dropped", list.toSpliced(i, 1)]
    yield ["repeated", list.toSpliced(i, 0, list[i]!)]
    yield ["cut", list.with(i, list[i]!.slice(1))]
    yield ["lengthened", list.with(i, Uint8Array.of(...list[i]!, 0))]
  }
  for (let i = 0; i + 1 < list.length; i++) {
    yield ["swapped", list.with(i, list[i + 1]!).with(i + 1, list[i]!)]
    const longer = Uint8Array.of(...list[i]!, list[i + 1]![0]!)
    yield ["boundary moved", list.with(i, longer).with(i + 1, list[i + 1]!.slice(1))]
  }
  yield ["added first", [element(salt), ...list]]
  yield ["added last", [...list, element(salt)]]
  if (list.length > 0) yield ["emptied", []]
}

function* forgedNumbers(n: number, max: number): Generator<number> {
  for (const forged of [
    n + 1,
    n - 1,
    n * 2,
    0,
    max,
    max + 1,
    -1,
    n + 0.5,
    Number.NaN,
    2 ** 53,
    Number.POSITIVE_INFINITY,
  ]) {
    if (forged !== n) yield forged
  }
}

function* forgeries({ claim, pins, root }: Case, salt: number): Generator<Forgery> {
  const { family, bagging, proof } = claim
  const { frontier } = treeWith(family, proof.leaves)
  const forge = (kind: string, change: Partial<RangeClaim>): Forgery => ({
    kind,
    claim: { ...claim, ...change },
    pins,
    root,
  })
  for (const [how, digests] of forgedLists(proof.digests, salt))
    yield forge(`digest ${how}`, { proof: { ...proof, digests } })
  for (const [how, parts] of forgedLists(claim.elements, salt)) yield forge(`element ${how}`, { elements: parts })
  for (const [how, forged] of forgedLists(pins, salt)) yield { kind: `pin ${how}`, claim, pins: forged, root }
  for (const leaves of forgedNumbers(proof.leaves, family.leavesMax))
    yield forge("leaves", { proof: { ...proof, leaves: leaves as Location } })
  for (const inactivePeaks of forgedNumbers(proof.inactivePeaks, frontier.peaks.length))
    yield forge("inactive count", { proof: { ...proof, inactivePeaks } })
  for (const start of forgedNumbers(claim.start, proof.leaves)) yield forge("start", { start: start as Location })
  yield forge("start and element", {
    start: (claim.start - 1) as Location,
    elements: [element(salt), ...claim.elements],
  })
  yield { kind: "root", claim, pins, root: flip(root, salt) }
  // With up to two peaks both baggings lead to the same root: there the claim would be true.
  const otherBagging = bagging === "forward" ? "backward" : "forward"
  if (!bytesEqual(rootOf(nobleHasher, frontier, proof.inactivePeaks, otherBagging), root))
    yield forge("bagging", { bagging: otherBagging })
}

interface Findings {
  readonly tried: Map<string, number>
  readonly accepted: Map<string, number>
  readonly reasons: Map<string, number>
}

const bump = (counts: Map<string, number>, key: string): void => void counts.set(key, (counts.get(key) ?? 0) + 1)

/** The oracle: shows forgeries to a verifier and counts those that it accepts, by kind. */
const findings = (verify: Verifier, runs: number, seed?: number): Findings => {
  const found: Findings = { tried: new Map(), accepted: new Map(), reasons: new Map() }
  fc.assert(
    fc.property(cases, ({ honest, salt }) => {
      expect(verify(honest, honest)).toBeUndefined()
      for (const forgery of forgeries(honest, salt)) {
        const rejection = verify(forgery, honest)
        bump(found.tried, forgery.kind)
        if (rejection === undefined) bump(found.accepted, forgery.kind)
        else bump(found.reasons, rejection._tag)
      }
    }),
    { numRuns: runs, ...(seed === undefined ? {} : { seed }) },
  )
  return found
}

test("every forgery of every kind is rejected, and every reason of the verifier rejects some", () => {
  const { tried, accepted, reasons } = findings(sound, 60)
  expect([...accepted]).toEqual([])
  expect(tried.size).toBe(30 + 6)
  expect([...tried.values()].reduce((a, b) => a + b)).toBeGreaterThan(4000)
  expect([...reasons.keys()].sort()).toEqual([
    "DigestCount",
    "DigestLength",
    "InactivePeaksAbovePeaks",
    "LeavesAboveMax",
    "PinCount",
    "PinLength",
    "PinMismatch",
    "RangeOutsideTree",
    "RootMismatch",
  ])
  for (const [reason, count] of reasons) expect(count, reason).toBeGreaterThan(20)
})

test("the yes-or-no verifiers agree with the reasons", () => {
  fc.assert(
    fc.property(cases, ({ honest, salt }) => {
      for (const { claim, pins, root } of [honest, ...forgeries(honest, salt)]) {
        expect(verifyRangeProof(nobleHasher, claim, root)).toBe(checkRangeProof(nobleHasher, claim, root) === undefined)
        const rejection = checkRangeWithPins(nobleHasher, claim, pins, root)
        expect(verifyRangeWithPins(nobleHasher, claim, pins, root)).toBe(rejection === undefined)
      }
    }),
    { numRuns: 5 },
  )
})

test("a rejection carries its evidence", () => {
  const { frontier, at, node } = treeWith(mmb, 11)
  const shape = { leaves: Location(11), inactivePeaks: 0, bagging: "backward" } as const
  const proof = rangeProof(nobleHasher, mmb, shape, { start: Location(9), end: Location(10) }, node)
  const claim: RangeClaim = { family: mmb, bagging: "backward", proof, start: Location(9), elements: [element(9)] }
  const root = rootOf(nobleHasher, frontier, 0, "backward")
  const pins = pinPositions(mmb, Location(9)).map(at)
  const check = (change: Partial<RangeClaim>, shown = pins) =>
    checkRangeWithPins(nobleHasher, { ...claim, ...change }, shown, root)
  const change = (part: Partial<RangeClaim["proof"]>) => check({ proof: { ...proof, ...part } })
  const over = Location(mmb.leavesMax + 1)
  expect(check({})).toBeUndefined()
  expect(change({ leaves: over })).toEqual({ _tag: "LeavesAboveMax", leaves: over, max: mmb.leavesMax })
  expect(check({ start: Location(11) })).toEqual({ _tag: "RangeOutsideTree", start: 11, end: 12, leaves: 11 })
  expect(change({ inactivePeaks: 4 })).toEqual({ _tag: "InactivePeaksAbovePeaks", inactivePeaks: 4, peaks: 3 })
  expect(change({ digests: [] })).toEqual({ _tag: "DigestCount", expected: 3, actual: 0 })
  const short = proof.digests.with(1, new Uint8Array(31))
  expect(change({ digests: short })).toEqual({ _tag: "DigestLength", index: 1, length: 31 })
  const wrong = checkRangeProof(nobleHasher, claim, element(0))
  expect(wrong).toEqual({ _tag: "RootMismatch", expected: element(0), actual: root })
  expect(check({}, [])).toEqual({ _tag: "PinCount", expected: pins.length, actual: 0 })
  expect(check({}, pins.with(2, new Uint8Array(33)))).toEqual({ _tag: "PinLength", index: 2, length: 33 })
  // The peaks of 9 leaves are (0,2) (4,2) (8,0); the tree of 11 leaves shows (0,3) and (8,0).
  expect(check({}, pins.with(1, element(0)))).toEqual({ _tag: "PinMismatch", firstPin: 0, endPin: 2 })
  expect(check({}, pins.with(2, element(0)))).toEqual({ _tag: "PinMismatch", firstPin: 2, endPin: 3 })
})

const resplit = (digests: ReadonlyArray<Uint8Array>): ReadonlyArray<Uint8Array> => {
  const bytes = Uint8Array.from(digests.flatMap((digest) => [...digest]))
  return digests.map((_, i) => bytes.slice(i * 32, i * 32 + 32))
}

/** Verifiers that skip one check each, and the forgery that must give each of them away. */
const canaries: Record<string, { readonly verify: Verifier; readonly caughtBy: string }> = {
  "no comparison with the trusted root": {
    verify: (shown, honest) => {
      const rejection = sound(shown, honest)
      return rejection?._tag === "RootMismatch" ? undefined : rejection
    },
    caughtBy: "element bit flipped",
  },
  "surplus digests are ignored": {
    verify: (shown, honest) => {
      const rejection = sound(shown, honest)
      if (rejection?._tag !== "DigestCount") return rejection
      const { claim } = shown
      const digests = claim.proof.digests.slice(0, rejection.expected)
      return sound({ ...shown, claim: { ...claim, proof: { ...claim.proof, digests } } }, honest)
    },
    caughtBy: "digest added last",
  },
  "digests of any length are joined": {
    verify: (shown, honest) => {
      const { claim } = shown
      return sound(
        { ...shown, claim: { ...claim, proof: { ...claim.proof, digests: resplit(claim.proof.digests) } } },
        honest,
      )
    },
    caughtBy: "digest boundary moved",
  },
  "the leaf count is taken from elsewhere": {
    verify: (shown, honest) => {
      const { leaves } = honest.claim.proof
      return sound({ ...shown, claim: { ...shown.claim, proof: { ...shown.claim.proof, leaves } } }, honest)
    },
    caughtBy: "leaves",
  },
  "the inactive count is taken from elsewhere": {
    verify: (shown, honest) => {
      const { inactivePeaks } = honest.claim.proof
      return sound({ ...shown, claim: { ...shown.claim, proof: { ...shown.claim.proof, inactivePeaks } } }, honest)
    },
    caughtBy: "inactive count",
  },
  "the place of the elements is taken from elsewhere": {
    verify: (shown, honest) => sound({ ...shown, claim: { ...shown.claim, start: honest.claim.start } }, honest),
    caughtBy: "start",
  },
  "pins are not looked at": {
    verify: ({ claim, root }) => checkRangeProof(nobleHasher, claim, root),
    caughtBy: "pin bit flipped",
  },
  "pins of any length are joined": {
    verify: (shown, honest) => sound({ ...shown, pins: resplit(shown.pins) }, honest),
    caughtBy: "pin boundary moved",
  },
  "surplus pins are ignored": {
    verify: (shown, honest) => sound({ ...shown, pins: shown.pins.slice(0, honest.pins.length) }, honest),
    caughtBy: "pin added last",
  },
}

test.each(Object.entries(canaries))("a verifier is caught when %s", (_, { verify, caughtBy }) => {
  expect([...findings(verify, 30, 7).accepted.keys()]).toContain(caughtBy)
})

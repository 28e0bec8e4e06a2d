/**
 * Goal: operations, floors and roots of immutable and keyless databases equal the published vectors byte for byte.
 * Method: every case of immutable-keyless.json batch by batch, with and without a flush and a reopen between; the floor
 * rules of batch-chains.json, whose errors we raise where the floor is given or the batch is sealed, not at apply.
 */
import { readFileSync } from "node:fs"
import { Blob, Bytes } from "@coppice/codec"
import { describe, expect, it } from "vitest"
import {
  createRig,
  type FloorBeyondSize,
  FloorRegressed,
  type ImmutableBatch,
  type ImmutableReader,
  type KeylessBatch,
  type KeylessReader,
  type Layer,
  Location,
  type LogReader,
  type MemberSpec,
  Qmdb,
  type Rig,
} from "./support/api.ts"

interface After {
  readonly size: number
  readonly floor: number
  readonly ops_root: string
  readonly new_operations: ReadonlyArray<{ readonly location: number; readonly encoded: string }>
}
interface Step {
  readonly genesis?: After
  readonly sets?: ReadonlyArray<{ readonly key: string; readonly value: string }>
  readonly appends?: ReadonlyArray<string>
  readonly metadata: string | null
  readonly floor: number
  readonly after: After
}
interface Case {
  readonly family: "mmr" | "mmb"
  readonly encoding: string
  readonly steps: ReadonlyArray<Step>
}
interface FloorRule {
  readonly append: ReadonlyArray<number>
  readonly floor: number
  readonly root?: string
  readonly error?: string
}

const read = (file: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../../conformance/vectors/${file}`, import.meta.url), "utf8"))

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"))
const hex = (array: Uint8Array): string => Buffer.from(array).toString("hex")

const immutable = (
  family: "mmr" | "mmb",
  encoding: string,
): MemberSpec<ImmutableBatch<Uint8Array, Uint8Array>, ImmutableReader<Uint8Array, Uint8Array>> =>
  Qmdb.immutable({
    key: Bytes(32),
    value: Bytes(32),
    family,
    encoding: encoding.startsWith("fixed") ? "fixed" : "variable",
  })

const keyless = (
  family: "mmr" | "mmb",
  encoding: string,
): MemberSpec<KeylessBatch<Uint8Array>, KeylessReader<Uint8Array>> =>
  Qmdb.keyless({ value: encoding.startsWith("fixed") ? Bytes(8) : Blob(64), family })

const flushings = ["never flushed", "flushed after each batch", "reopened after each batch"] as const

const run = <B extends ImmutableBatch<Uint8Array, Uint8Array> | KeylessBatch<Uint8Array>, R extends LogReader>(
  spec: MemberSpec<B, R>,
  steps: ReadonlyArray<Step>,
  flushing: (typeof flushings)[number],
  write: (batch: B, step: Step) => void,
  checkReads: (reader: R, step: Step) => void,
): void => {
  let rig = createRig(spec)
  const check = (layer: Layer, after: After): void => {
    const { target } = layer
    expect([target.end, target.start, hex(target.root)]).toEqual([after.size, after.floor, after.ops_root])
    const first = after.new_operations[0]!.location
    const { operations } = rig.member.reader.prove(Location(first), after.new_operations.length)
    expect(operations.map(hex)).toEqual(after.new_operations.map(({ encoded }) => encoded))
  }
  for (const step of steps) {
    if (step.genesis !== undefined) {
      check(rig.member.tip, step.genesis)
      continue
    }
    rig.commit((batch) => {
      write(batch, step)
      if (step.metadata !== null) batch.withMetadata(bytes(step.metadata))
      batch.withFloor(Location(step.floor))
    })
    check(rig.member.tip, step.after)
    if (flushing !== "never flushed") rig.flush()
    if (flushing === "reopened after each batch") rig = rig.reopen()
    check(rig.member.tip, step.after)
    checkReads(rig.member.reader, step)
  }
}

const file = read("immutable-keyless.json") as {
  readonly immutable: ReadonlyArray<Case>
  readonly keyless: ReadonlyArray<Case>
}

describe("immutable-keyless.json", () => {
  for (const flushing of flushings) {
    for (const { family, encoding, steps } of file.immutable) {
      it(`immutable, ${family}, ${encoding}: every batch equals its vector, ${flushing}`, () => {
        run(
          immutable(family, encoding),
          steps,
          flushing,
          (batch, { sets }) => {
            for (const { key, value } of sets!) batch.set(bytes(key), bytes(value))
          },
          (reader, { sets, after }) => {
            for (const { key, value } of sets!) {
              const location = after.new_operations.find(({ encoded }) => encoded.includes(key))!.location
              expect(reader.get(bytes(key))).toEqual(location >= after.floor ? bytes(value) : undefined)
              expect(reader.locate(bytes(key))).toBe(location >= after.floor ? location : undefined)
            }
          },
        )
      })
    }
    for (const { family, encoding, steps } of file.keyless) {
      it(`keyless, ${family}, ${encoding}: every batch equals its vector, ${flushing}`, () => {
        run(
          keyless(family, encoding),
          steps,
          flushing,
          (batch, { appends, after }) => {
            const locations = appends!.map((value) => batch.append(bytes(value)))
            expect(locations).toEqual(after.new_operations.slice(0, -1).map(({ location }) => location))
          },
          (reader, { appends, metadata, after }) => {
            const first = after.new_operations[0]!.location
            for (const [i, value] of appends!.entries()) {
              expect(reader.get(Location(first + i))).toEqual(bytes(value))
            }
            const commit = Location(after.size - 1)
            expect(reader.get(commit)).toEqual(metadata === null ? undefined : bytes(metadata))
            expect(reader.get(Location(after.size))).toBe(undefined)
          },
        )
      })
    }
  }
})

it("batch-chains.json: floors that regress or lie beyond their commit are refused, the others have their roots", () => {
  const { keyless_floor_rules: rules } = read("batch-chains.json") as {
    readonly keyless_floor_rules: ReadonlyArray<FloorRule>
  }
  const rig: Rig<KeylessBatch<Uint8Array>, KeylessReader<Uint8Array>> = createRig(keyless("mmr", "fixed value 8"))
  const refused: Array<string> = []
  for (const { append, floor, root, error } of rules) {
    const { target } = rig.member.tip
    const commit = (): void => {
      rig.commit((batch) => {
        for (const n of append) batch.append(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, n))
        batch.withFloor(Location(floor))
      })
    }
    if (error === undefined) {
      commit()
      expect(hex(rig.member.tip.target.root)).toBe(root)
      continue
    }
    try {
      commit()
    } catch (thrown) {
      refused.push((thrown as FloorRegressed | FloorBeyondSize)._tag)
    }
    expect(rig.member.tip.target, "nothing has changed").toEqual(target)
    expect(rig.member.layers).toBe(2)
  }
  expect(refused).toEqual(["FloorRegressed", "FloorBeyondSize"])
  expect(() => rig.member.openBatch(rig.member.tip).withFloor(Location(0))).toThrow(FloorRegressed)
})

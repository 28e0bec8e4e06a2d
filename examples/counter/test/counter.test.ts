/**
 * Goal: the counter is a real chain: validators agree, blocks commit to their states, a restart goes on.
 * Method: the example's own network on real storage in a temporary directory, started twice.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Height } from "@coppice/consensus"
import { withDevnet } from "@coppice/simulate/devnet"
import { targetsEqual } from "@coppice/stateful"
import { it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { expect } from "vitest"
import { Counter } from "../src/counter.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "counter-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true })),
)

const chainIn = (directory: string) => ({ application: Counter, directory, viewMs: 5 })

it.live("what was added is there, on every validator, under the targets of its block, and after a restart", () =>
  Effect.gen(function* () {
    const chain = chainIn(yield* temporary)
    const before = yield* withDevnet(chain, ({ nodes, submit, read }) =>
      Effect.gen(function* () {
        for (let nonce = 0n; nonce < 5n; nonce++) yield* submit({ name: "a", amount: 10, nonce })
        const last = [
          { name: "a", amount: 1, nonce: 5n },
          { name: "b", amount: 7, nonce: 5n },
        ]
        yield* Effect.forEach(last, submit, { concurrency: "unbounded" })
        expect(read(({ counts }) => counts.getMany(["a", "b", "c"]))).toEqual([51n, 7n, undefined])
        const height = Height(Math.min(...nodes.map(({ set }) => set.anchor.height)))
        const block = (yield* nodes[0]!.marshal.finalizedAt(height))!
        for (const { set } of nodes) {
          const row = set.row(height)!
          expect(row.digest).toEqual(block.digest)
          expect(targetsEqual(row.targets.counts, block.targets.counts)).toBe(true)
        }
        return block
      }),
    )
    yield* withDevnet(chain, ({ nodes, submit, read }) =>
      Effect.gen(function* () {
        expect(read(({ counts }) => counts.getMany(["a", "b"]))).toEqual([51n, 7n])
        expect(yield* nodes[0]!.marshal.finalizedAt(before.height)).toEqual(before)
        expect(yield* submit({ name: "a", amount: 1, nonce: 6n })).toBeGreaterThan(before.height)
        expect(read(({ counts }) => counts.get("a"))).toBe(52n)
      }),
    )
  }),
)

it.live("a second network on the same directory is refused while the first one runs", () =>
  Effect.gen(function* () {
    const chain = chainIn(yield* temporary)
    const second = yield* withDevnet(chain, () => Effect.exit(withDevnet(chain, () => Effect.void)))
    expect(Exit.isFailure(second)).toBe(true)
    yield* withDevnet(chain, ({ submit }) => submit({ name: "a", amount: 1, nonce: 0n }))
  }),
)

it("the example is under 40 lines, and its README shows it as it is", () => {
  const read = (path: string): string => readFileSync(new URL(path, import.meta.url), "utf8")
  const source = read("../src/counter.ts")
  expect(source.split("\n").length).toBeLessThan(40)
  expect(read("../README.md")).toContain(source)
})

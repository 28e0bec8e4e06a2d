/**
 * Goal: the harness counts what it says it counts, prints what machines read, and a broken bench cannot pass for a
 * measured one.
 * Method: no assertion on a duration. Percentiles, order, units and formats are checked on given numbers; processes are
 * real; checkouts are small folders whose bench modules only return.
 */
import { spawnSync } from "node:child_process"
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { alternate, anonymousBytes, type Figure, figure, inChild, stall, time, timingOf } from "../harness.ts"
import { jsonLine, table, verdict } from "../report.ts"

const timing = (p50: number) => ({ p50, p99: p50, samples: 1 })

describe("timing", () => {
  test("percentiles are by nearest rank, whatever the order of the samples", () => {
    const hundred = Array.from({ length: 100 }, (_, i) => 100 - i)
    expect(timingOf(hundred)).toEqual({ p50: 50, p99: 99, samples: 100 })
    expect(timingOf([7])).toEqual({ p50: 7, p99: 7, samples: 1 })
    expect(() => timingOf([])).toThrow(RangeError)
  })

  test("subjects alternate, the first place turns, preparation comes right before, warm-up is not counted", async () => {
    const order: Array<string> = []
    const subject = (name: string) => ({
      prepare: (round: number) => order.push(`(${name}${round}`),
      run: async (round: number) => order.push(`${name}${round})`),
    })
    const taken = await alternate({ a: subject("a"), b: subject("b") }, { rounds: 2, warmup: 1 })
    expect(order.join(" ")).toBe("(a0 a0) (b0 b0) (b1 b1) (a1 a1) (a2 a2) (b2 b2)")
    expect([taken.a.samples, taken.b.samples]).toEqual([2, 2])
  })

  test("one subject is timed as often as asked", async () => {
    expect((await time({ run: () => 1 }, { rounds: 5, warmup: 2 })).samples).toBe(5)
  })

  test("a subject that throws fails the measurement", async () => {
    const broken = { run: () => Promise.reject(new Error("broken")) }
    await expect(time(broken, { rounds: 1 })).rejects.toThrow("broken")
  })
})

describe("figures", () => {
  test("a figure has the unit it names, per operation", () => {
    expect(figure("a", timing(2), { unit: "us", per: 4 })).toEqual({ name: "a", p50: 500, unit: "us" })
    expect(figure("a", timing(2), { unit: "s" }).p50).toBe(0.002)
  })

  test("the ratio is ours over the peer's, both per operation", () => {
    const against = { name: "peer", timing: timing(8), per: 2 }
    expect(figure("a", timing(6), { unit: "ms", per: 3, against })).toMatchObject({ against: "peer", ratio: 0.5 })
    const same = { name: "peer", timing: timing(8) }
    expect(figure("a", timing(2), { unit: "ms", per: 3, against: same }).ratio).toBe(0.25)
  })

  test("a JSON line has five keys in their order, null where there is nothing", () => {
    expect(jsonLine({ name: "a", p50: 1 / 3, unit: "ms" })).toBe(
      '{"name":"a","p50":0.333333,"unit":"ms","against":null,"ratio":null}',
    )
    const target = { on: "ratio", required: 1 } as const
    expect(jsonLine({ name: "a", p50: 2, unit: "ms", against: "b", ratio: 0.25, target })).toBe(
      '{"name":"a","p50":2,"unit":"ms","against":"b","ratio":0.25}',
    )
  })

  test("a target is met at its bound and missed above it", () => {
    const at = (ratio: number): string =>
      verdict({ name: "a", p50: 1, unit: "ms", ratio, target: { on: "ratio", required: 5, aim: 2 } })
    expect([at(2), at(2.1), at(5), at(5.1)]).toEqual(["aim", "required", "required", "missed"])
    expect(verdict({ name: "a", p50: 16, unit: "B", target: { on: "p50", required: 64, aim: 16 } })).toBe("aim")
    expect(verdict({ name: "a", p50: 1, unit: "B", target: { on: "ratio", required: 1 } })).toBe("missed")
    expect(verdict({ name: "a", p50: 1, unit: "B" })).toBe("")
  })

  test("the table lines up, and shows the bounds of figures that have some", () => {
    const figures: ReadonlyArray<Figure> = [
      { name: "short", p50: 1.5, unit: "ms" },
      {
        name: "a longer name",
        p50: 20,
        unit: "B",
        against: "peer",
        ratio: 3,
        target: { on: "ratio", required: 5, aim: 2 },
      },
    ]
    expect(table(figures).split("\n")).toEqual([
      "name            p50  unit  against  ratio  required      aim  met",
      "short          1.50  ms",
      "a longer name  20.0  B     peer     3.00x   <= 5.0x  <= 2.0x  required",
    ])
  })
})

test("a stall is the longest stop, the part before the first turn of the loop included", async () => {
  let now = 0
  const block = (ms: number) => async () => {
    now += ms
  }
  expect(await stall(block(41), () => now)).toBe(40)
  expect(await stall(block(0), () => now)).toBe(0)
})

describe("child processes", () => {
  const self = new URL("./child-module.ts", import.meta.url).href

  test("an export runs elsewhere and its answer crosses, bytes included", async () => {
    const answer = await inChild<{ pid: number; doubled: Uint8Array }>(self, "double", Uint8Array.of(1, 2))
    expect(answer.pid).not.toBe(process.pid)
    expect(answer.doubled).toEqual(Uint8Array.of(2, 4))
  })

  test("an error, an unknown export and a death are rejections that say so", async () => {
    await expect(inChild(self, "broken", 0)).rejects.toThrow("broken on purpose")
    await expect(inChild(self, "absent", 0)).rejects.toThrow("exports no function absent")
    await expect(inChild(self, "dies", 0)).rejects.toThrow("ended without an answer")
  })

  test("resident memory shows what a process holds, where the system tells", async () => {
    if (process.platform !== "linux") return expect(inChild(self, "holding", 0)).rejects.toThrow("/proc")
    const [empty, full] = [await inChild<number>(self, "holding", 0), await inChild<number>(self, "holding", 64)]
    expect(full - empty).toBeGreaterThan(60 * 2 ** 20)
    expect(full - empty).toBeLessThan(96 * 2 ** 20)
  })

  test("memory is refused where nothing was collected", async () => {
    await expect(anonymousBytes()).rejects.toThrow("--expose-gc")
  })
})

describe("npm run bench", () => {
  let root: string
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "coppice-bench-"))
    mkdirSync(join(root, "tools", "bench"), { recursive: true })
    for (const file of ["harness.ts", "child.ts", "report.ts", "run.ts", "main.ts"]) {
      copyFileSync(new URL(`../${file}`, import.meta.url), join(root, "tools", "bench", file))
    }
    writeFileSync(join(root, "package.json"), '{ "type": "module" }')
  })
  afterEach(() => rmSync(root, { recursive: true, force: true }))

  const bench = (member: string, name: string, run: string): void => {
    const folder = join(root, member, "bench")
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, `${name}.bench.ts`), `export const benches = [{ name: "${name}", run: ${run} }]\n`)
  }
  const npmRunBench = (...args: ReadonlyArray<string>) =>
    spawnSync(process.execPath, [join(root, "tools", "bench", "main.ts"), ...args], { encoding: "utf8" })
  const one = (name: string): string => `async () => [{ name: "${name}", p50: 1, unit: "ms" }]`

  test("prints with --json one line per figure and nothing else", () => {
    bench("packages/a", "first", `async () => { console.log("noise"); return (${one("a")})() }`)
    bench("apps/b", "second", one("b"))
    const { status, stdout } = npmRunBench("--json")
    expect(status).toBe(0)
    const lines = stdout.trimEnd().split("\n")
    expect(lines.map((line) => (JSON.parse(line) as Figure).name)).toEqual(["a", "b"])
  })

  test("a filter picks by a part of the name, and one that matches nothing fails", () => {
    bench("packages/a", "first", one("a"))
    bench("packages/a", "second", one("b"))
    expect(npmRunBench("sec", "--json").stdout).toContain('"name":"b"')
    expect(npmRunBench("sec", "--json").stdout).not.toContain('"name":"a"')
    expect(npmRunBench("third")).toMatchObject({ status: 1, stdout: "" })
    expect(npmRunBench("--jsn").status).toBe(2)
  })

  test("a bench that throws or dies fails the run and spares the others", () => {
    bench("packages/a", "broken", 'async () => { throw new Error("broken on purpose") }')
    bench("packages/a", "dies", "async () => process.abort()")
    bench("packages/a", "fine", one("a"))
    const { status, stdout, stderr } = npmRunBench("--json")
    expect(status).toBe(1)
    expect(stdout.trimEnd().split("\n").length).toBe(1)
    expect(stderr).toContain("broken on purpose")
    expect(stderr).toContain("2 of 3 benches failed: broken, dies")
  })

  test("two figures of one name are refused, and so are two benches", () => {
    bench("packages/a", "first", one("a"))
    bench("packages/b", "second", one("a"))
    expect(npmRunBench()).toMatchObject({ status: 1, stderr: expect.stringContaining("two figures are named a") })
    bench("packages/b", "first", one("b"))
    expect(npmRunBench()).toMatchObject({ status: 1, stderr: expect.stringContaining("two benches are named first") })
  })

  test("directories lie in the checkout and are gone afterwards", () => {
    bench("packages/a", "first", `async ({ directory, note }) => { note(directory()); return (${one("a")})() }`)
    expect(npmRunBench("--json").stderr).toContain(join(root, ".coppice", "bench", "run-"))
    expect(existsSync(join(root, ".coppice", "bench")) && readdirSync(join(root, ".coppice", "bench"))).toEqual([])
  })
})

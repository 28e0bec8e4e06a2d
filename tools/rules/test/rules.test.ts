/**
 * Goal: each rule reports what it is for and nothing else.
 * Method: a small tree that passes every rule is the base; each case changes one file of it and states the complete
 * list of violations. A case that expects none guards against false alarms, all others are the canaries of their rule.
 */
import { describe, expect, test } from "vitest"
import { check, covers } from "../check.ts"
import { EXCEPTIONS, type Exception } from "../exceptions.ts"
import { GRAPH, TEST_SUPPORT } from "../graph.ts"
import { readTree, treeOf } from "../tree.ts"
import type { RuleName, Violation } from "../violation.ts"

const HEAD = "/** What this file is. */\n"
const manifest = (name: string, rest: object = {}): string =>
  JSON.stringify({ name: `@coppice/${name}`, exports: { ".": "./src/index.ts", "./internal/*": null }, ...rest })
const uses = (...names: ReadonlyArray<string>): object => ({
  dependencies: Object.fromEntries(
    names.map((name) => (name.includes("@") ? [name, "workspace:*"] : [name, "catalog:"])),
  ),
})
const imports = (...names: ReadonlyArray<string>): string => HEAD + names.map((name) => `import "${name}"\n`).join("")

const BASE: Readonly<Record<string, string>> = {
  "package.json": JSON.stringify({ devDependencies: { vitest: "catalog:" } }),
  "pnpm-lock.yaml": "lockfileVersion: '9.0'\n",
  "packages/codec/package.json": manifest("codec"),
  "packages/codec/src/index.ts": `${HEAD}export * from "./bytes.ts"\n`,
  "packages/codec/src/bytes.ts": `${HEAD}\n/** A length. */\nexport const LENGTH = 32\n`,
  "packages/codec/test/bytes.test.ts": imports("vitest", "../src/bytes.ts"),
  "packages/merkle/package.json": manifest("merkle", uses("@coppice/codec")),
  "packages/merkle/src/index.ts": imports("@coppice/codec"),
  "packages/consensus/package.json": manifest("consensus", uses("@coppice/codec", "effect")),
  "packages/consensus/src/index.ts": imports("@coppice/codec", "effect/Effect", "node:fs"),
  "packages/laws/package.json": manifest("laws", uses("@coppice/codec")),
  "packages/laws/src/index.ts": imports("@coppice/codec"),
}

const violations = (changes: Readonly<Record<string, string>>, exceptions: ReadonlyArray<Exception> = []) =>
  check(treeOf(new Map(Object.entries({ ...BASE, ...changes }))), exceptions)

const brief = (found: ReadonlyArray<Violation>): ReadonlyArray<string> =>
  found.map(({ rule, what }) => `${rule} ${what}`)

const inCodec = (code: string): ReadonlyArray<string> =>
  brief(violations({ "packages/codec/src/bytes.ts": HEAD + code }))
const inConsensus = (code: string): ReadonlyArray<string> =>
  brief(violations({ "packages/consensus/src/more.ts": HEAD + code }))

test("the base tree breaks no rule", () => {
  expect(violations({})).toEqual([])
})

describe("graph", () => {
  const merkleImports = (specifier: string): ReadonlyArray<string> =>
    brief(violations({ "packages/merkle/src/more.ts": imports(specifier) }))

  test("an import up the graph is reported, in the source and in the manifest", () => {
    const up = violations({
      "packages/codec/package.json": manifest("codec", uses("@coppice/merkle")),
      "packages/codec/src/more.ts": imports("@coppice/merkle"),
    })
    expect(up.map(({ rule, path }) => `${rule} ${path}`)).toEqual([
      "graph packages/codec/package.json",
      "graph packages/codec/src/more.ts",
    ])
  })

  test.for([
    ["a static import", 'import { a } from "@coppice/merkle"'],
    ["a type import", 'import type { A } from "@coppice/merkle"'],
    ["a re-export", 'export { a } from "@coppice/merkle"'],
    ["a re-export of everything", 'export * from "@coppice/merkle"'],
    ["a dynamic import", 'const a = await import("@coppice/merkle")'],
    ["an import type", 'type A = import("@coppice/merkle").A'],
    ["a require", 'const a = require("@coppice/merkle")'],
  ])("%s is an import", ([, code]) => {
    expect(inCodec(code as string)).toContain("graph @coppice/merkle")
  })

  test("text that looks like an import is none", () => {
    const code = "// import '@coppice/merkle'\nconst a = `import \"@coppice/merkle\"`\nconst b = /import\\('x'\\)/\n"
    expect(inCodec(code)).toEqual([])
  })

  test("a computed import is reported", () => {
    expect(inCodec("const load = (name: string) => import(name)")).toEqual(["graph import()"])
  })

  test("the internals of another package are sealed", () => {
    expect(merkleImports("@coppice/codec/internal/x")).toEqual(["graph @coppice/codec/internal/x"])
    expect(merkleImports("@coppice/codec/src/bytes.ts")).toEqual(["graph @coppice/codec/src/bytes.ts"])
  })

  test("a relative import never leaves its package, nor a source its folder", () => {
    expect(merkleImports("../../codec/src/bytes.ts")).toEqual(["graph ../../codec/src/bytes.ts"])
    expect(merkleImports("../../../tools/x.ts")).toEqual(["graph ../../../tools/x.ts"])
    expect(merkleImports("../test/help.ts")).toEqual(["graph ../test/help.ts"])
    expect(merkleImports("../package.json")).toEqual([])
  })

  test("tests and benches import test support, sources do not", () => {
    const codec = manifest("codec", { devDependencies: { "@coppice/laws": "workspace:*" } })
    const changes = (path: string) => ({ "packages/codec/package.json": codec, [path]: imports("@coppice/laws") })
    expect(brief(violations(changes("packages/codec/test/laws.test.ts")))).toEqual([])
    expect(brief(violations(changes("packages/codec/bench/laws.bench.ts")))).toEqual([])
    expect(brief(violations(changes("packages/codec/src/laws.ts")))).toContain("graph @coppice/laws")
  })

  test("a test follows the graph as its source does", () => {
    const found = violations({
      "packages/consensus/package.json": manifest("consensus", {
        ...uses("@coppice/codec", "effect"),
        devDependencies: { "@coppice/merkle": "workspace:*" },
      }),
      "packages/consensus/test/more.test.ts": imports("@coppice/merkle"),
    })
    expect(brief(found)).toEqual(["graph @coppice/merkle", "graph @coppice/merkle"])
  })

  test("a source names its own files, a test may use the public surface", () => {
    expect(inCodec('import "@coppice/codec"')).toEqual(["graph @coppice/codec"])
    expect(brief(violations({ "packages/codec/test/own.test.ts": imports("@coppice/codec") }))).toEqual([])
  })

  test("a browser-safe source imports nothing of Node outside src/node", () => {
    expect(inCodec('import "node:fs"')).toEqual(["graph node:fs"])
    expect(brief(violations({ "packages/codec/src/node/index.ts": imports("node:fs") }))).toEqual([])
    expect(inCodec('import "./node/index.ts"')).toEqual(["graph ./node/index.ts"])
    expect(inConsensus('import "fs"')).toEqual(["graph fs"])
  })

  test("a package that the graph does not list is reported", () => {
    const found = violations({ "packages/extra/package.json": manifest("extra") })
    expect(brief(found)).toEqual(["graph packages/extra"])
    expect(merkleImports("@coppice/nowhere")).toEqual(["graph @coppice/nowhere"])
  })

  test("no chain of packages returns to where it began", () => {
    const reach = (from: string, path: ReadonlyArray<string>): void => {
      expect(path, `cycle ${[...path, from].join(" -> ")}`).not.toContain(from)
      const next = GRAPH[from]?.uses ?? []
      if (next !== "any") for (const to of next) reach(to, [...path, from])
    }
    for (const folder of Object.keys(GRAPH)) reach(folder, [])
  })

  test("no package but test support may import anything it likes, and rows name only members", () => {
    for (const [folder, { uses }] of Object.entries(GRAPH)) {
      if (folder.startsWith("packages/")) expect(uses === "any", folder).toBe(TEST_SUPPORT.includes(folder))
      if (uses !== "any") for (const to of uses) expect(Object.keys(GRAPH), folder).toContain(to)
    }
    expect(GRAPH["packages/consensus"]?.uses).not.toContain("packages/qmdb")
  })
})

describe("dependency", () => {
  const codecWith = (rest: object, files: Readonly<Record<string, string>> = {}): ReadonlyArray<string> =>
    brief(violations({ "packages/codec/package.json": manifest("codec", rest), ...files }))

  test("a dependency that nothing imports is reported", () => {
    expect(codecWith(uses("effect"))).toEqual(["dependency effect"])
    expect(codecWith({ devDependencies: { "fast-check": "catalog:" } })).toEqual(["dependency fast-check"])
    expect(codecWith({ peerDependencies: { effect: "catalog:" } })).toEqual(["dependency effect"])
  })

  test("a dependency that only tests import belongs to the devDependencies", () => {
    const file = { "packages/codec/test/effect.test.ts": imports("effect") }
    expect(codecWith(uses("effect"), file)).toEqual(["dependency effect"])
    expect(codecWith({ devDependencies: { effect: "catalog:" } }, file)).toEqual([])
  })

  test("an import that the manifest does not declare is reported", () => {
    expect(inCodec('import "effect"')).toEqual(["dependency effect"])
    expect(brief(violations({ "packages/codec/test/effect.test.ts": imports("effect") }))).toEqual([
      "dependency effect",
    ])
  })

  test("a source cannot lean on a development dependency, its own or the root's", () => {
    expect(inCodec('import "vitest"')).toEqual(["dependency vitest"])
    const files = { "packages/codec/src/more.ts": imports("fast-check") }
    expect(codecWith({ devDependencies: { "fast-check": "catalog:" } }, files)).toEqual(["dependency fast-check"])
  })

  test("a root dependency counts as used only where its user does not bring its own", () => {
    const root = JSON.stringify({ devDependencies: { vitest: "catalog:", "fast-check": "catalog:" } })
    expect(brief(violations({ "package.json": root }))).toEqual(["dependency fast-check"])
    const test = { "packages/codec/test/more.test.ts": imports("fast-check") }
    expect(brief(violations({ "package.json": root, ...test }))).toEqual([])
    const own = manifest("codec", { devDependencies: { "fast-check": "catalog:" } })
    expect(brief(violations({ "package.json": root, "packages/codec/package.json": own, ...test }))).toEqual([
      "dependency fast-check",
    ])
  })

  test("a dependency that is not pinned is reported", () => {
    const found = codecWith({ dependencies: { effect: "^4.1.0" } }, { "packages/codec/src/more.ts": imports("effect") })
    expect(found).toEqual(["dependency effect"])
  })
})

describe("ambient", () => {
  test.for([
    ["Date.now()", "Date.now"],
    ["const now = Date.now", "Date.now"],
    ["const { now } = Date", "Date.now"],
    ["new Date()", "Date"],
    ["Date()", "Date"],
    ["const clock = Date", "Date"],
    ["globalThis.Date.now()", "Date.now"],
    ["globalThis['performance'].now()", "performance.now"],
    ["performance.timeOrigin", "performance.timeOrigin"],
    ["process.hrtime.bigint()", "process.hrtime.bigint"],
    ["Math.random()", "Math.random"],
    ["const m = { source: Math }", "Math"],
    ["const call = (f = Math.random) => f()", "Math.random"],
    ["globalThis.crypto!.getRandomValues(bytes)", "crypto.getRandomValues"],
    ["crypto?.randomUUID()", "crypto.randomUUID"],
    ["setTimeout(f, 1)", "setTimeout"],
    ["setInterval(f, 1)", "setInterval"],
    ["setImmediate(f)", "setImmediate"],
    ["queueMicrotask(f)", "queueMicrotask"],
    ["process.nextTick(f)", "process.nextTick"],
    ["AbortSignal.timeout(5)", "AbortSignal.timeout"],
    ["Atomics.wait(a, 0, 0, 5)", "Atomics.wait"],
    ["new WeakRef({})", "WeakRef"],
    ["new FinalizationRegistry(f)", "FinalizationRegistry"],
  ])("%s is reported", ([code, name]) => {
    expect(inConsensus(`${code as string}\n`)).toEqual([`ambient ${name}`])
  })

  test.for([
    ['import { randomBytes as r } from "node:crypto"\nr(8)', "crypto.randomBytes"],
    ['import * as c from "node:crypto"\nc.webcrypto.getRandomValues(b)', "crypto.getRandomValues"],
    ['import c from "node:crypto"\nc.generateKeyPairSync("ed25519")', "crypto.generateKeyPairSync"],
    ['const { randomInt } = await import("node:crypto")', "crypto.randomInt"],
    ['import { hrtime } from "node:process"\nhrtime.bigint()', "process.hrtime.bigint"],
    ['import { performance as p } from "node:perf_hooks"\np.now()', "performance.now"],
    ['import { setTimeout as sleep } from "node:timers/promises"\nawait sleep(5)', "setTimeout"],
    ['import * as timers from "node:timers"\ntimers.setInterval(f)', "setInterval"],
    ['export { randomUUID } from "node:crypto"', "crypto.randomUUID"],
  ])("%s is reported whatever it is called", ([code, name]) => {
    expect(inConsensus(code as string)).toEqual([`ambient ${name}`])
  })

  test("keys drawn by a signature library are chance", () => {
    const code = 'import { ed } from "effect"\ned.utils.randomSecretKey()'
    expect(inConsensus(code)).toEqual(["ambient import.ed.utils.randomSecretKey"])
  })

  test.for([
    ["a date from a number", "new Date(0)"],
    ["a question about a value", "const isDate = (x: unknown) => x instanceof Date"],
    ["a type", "const f = (at: Date, timer: typeof setTimeout): Math => at"],
    ["a type declaration", "interface A { now: typeof Date.now; date: Date }\ntype B = typeof performance"],
    ["pure arithmetic", "const a = Math.max(1, Math.floor(2.5))"],
    ["hashing", 'import { createHash } from "node:crypto"\ncreateHash("sha256")'],
    ["a property of the same name", "clock.setTimeout(5)\nconst o = { setTimeout: 1 }\nclass C { setTimeout() {} }"],
    ["a name the file declares", "const f = (performance: { now: () => number }) => performance.now()"],
    ["a mention", 'const text = "Date.now()" // Math.random()'],
    ["the environment", "process.exitCode = 1"],
  ])("%s is not ambient", ([, code]) => {
    expect(inConsensus(`${code as string}\n`)).toEqual([])
  })

  test("a race between promises is reported in the sources of consensus and stateful alone", () => {
    expect(inConsensus("await Promise.race([])\nawait Promise.any([])")).toEqual([
      "ambient Promise.race",
      "ambient Promise.any",
    ])
    expect(inConsensus("await Promise.all([])")).toEqual([])
    expect(inCodec("await Promise.race([])")).toEqual([])
  })
})

describe("head, docstring, unfinished", () => {
  const codec = (text: string): ReadonlyArray<string> => brief(violations({ "packages/codec/src/more.ts": text }))
  const path = "packages/codec/src/more.ts"

  test("a file without a head is reported", () => {
    expect(codec("export {}\n")).toEqual([`head ${path}`])
    expect(codec("// A line.\nexport {}\n")).toEqual([`head ${path}`])
    expect(codec('import "./bytes.ts"\n/** Late. */\nexport {}\n')).toEqual([`head ${path}`])
  })

  test("the docstring of the first symbol is no head", () => {
    expect(codec("/** A symbol. */\nexport const a = 1\n")).toEqual([`head ${path}`])
    expect(codec(`${HEAD}/** A symbol. */\nexport const a = 1\n`)).toEqual([])
  })

  test.for([
    ["a value", "export const a = 1", "a"],
    ["a function", "export function a() {}", "a"],
    ["a class", "export class A {}", "A"],
    ["an interface", "export interface A {}", "A"],
    ["a type", "export type A = 1", "A"],
    ["a list", "const a = 1\nexport { a as b }", "a"],
    ["a line comment", "// a\nexport const a = 1", "a"],
    ["a comment of something else", "/** c */\nconst c = 1\nexport const a = c", "a"],
  ])("%s exported without a docstring is reported", ([, code, name]) => {
    expect(codec(`${HEAD}import "./bytes.ts"\n${code as string}\n`)).toEqual([`docstring ${name}`])
  })

  test("one docstring serves all declarations of a name, and a suppression may stand below it", () => {
    expect(codec(`${HEAD}/** A. */\nexport const A = 1\nexport type A = 1\n`)).toEqual([])
    expect(codec(`${HEAD}/** A. */\n// biome-ignore lint: reason\nexport const A = 1\n`)).toEqual([])
  })

  test("tests need no docstrings, sources no default export", () => {
    expect(
      brief(violations({ "packages/codec/test/help.ts": `${HEAD}import "../src/bytes.ts"\nexport const a = 1` })),
    ).toEqual([])
    expect(codec(`${HEAD}/** A. */\nexport default 1\n`)).toEqual(["docstring default"])
  })

  test("unfinished work is reported in comments alone", () => {
    const marker = ["TO", "DO"].join("")
    expect(codec(`${HEAD}// ${marker}: later\n`)).toEqual([`unfinished ${marker}`])
    expect(codec(`${HEAD}const a = "${marker}"\n`)).toEqual([])
  })
})

describe("machine", () => {
  const registry = ["https://reg", "istry.example.org"].join("")

  test("a registry host in any file is reported", () => {
    expect(brief(violations({ ".npmrc": `x=${registry}/\n` }))).toEqual([`machine ${registry}`])
  })

  test("a path of one machine is reported, a relative path or a route is not", () => {
    const home = ["/ho", "me/me"].join("")
    expect(brief(violations({ "README.md": `see ${home}/notes` }))).toEqual([`machine ${home}`])
    expect(brief(violations({ "README.md": "see docs/work/x, ~/home/x, https://example.org/home/x" }))).toEqual([])
  })

  test("a lockfile that names a host, is missing, or is another tool's is reported", () => {
    const lockfile = "lockfileVersion: '9.0'\npackages:\n  a: {tarball: http://example.org/a.tgz}\n"
    expect(violations({ "pnpm-lock.yaml": lockfile })).toMatchObject([{ rule: "machine", what: "http", line: 3 }])
    const { "pnpm-lock.yaml": _, ...without } = BASE
    expect(brief(check(treeOf(new Map(Object.entries(without))), []))).toEqual(["machine pnpm-lock.yaml"])
    expect(brief(violations({ "apps/x/package-lock.json": "{}" }))).toEqual(["machine apps/x/package-lock.json"])
  })
})

describe("switched-off", () => {
  const inTest = (code: string): ReadonlyArray<string> =>
    brief(violations({ "packages/codec/test/more.test.ts": `${imports("vitest")}${code}\n` }))

  test.for([
    ['it.skip("a", f)', "skip"],
    ['test.only("a", f)', "only"],
    ['describe.todo("a")', "todo"],
    ['it.effect.skip("a", f)', "skip"],
    ['it.live.skipIf(true)("a", f)', "skipIf"],
    ['test("a", { skip: true }, f)', "skip"],
    ['test("a", (ctx) => ctx.skip())', "skip"],
  ])("%s is reported", ([code, what]) => {
    expect(inTest(code as string)).toEqual([`switched-off ${what}`])
  })

  test("skipping elements of something else is no test", () => {
    expect(inTest("stream.skip(1)\nconst only = { skip: 1 }")).toEqual([])
  })
})

describe("exceptions", () => {
  const exception = (rule: RuleName, path: string, what?: ReadonlyArray<string>): Exception =>
    what === undefined ? { rule, path, reason: "test" } : { rule, path, what, reason: "test" }
  const file = { "packages/codec/src/bytes.ts": `${HEAD}Date.now()\nMath.random()\n` }
  const path = "packages/codec/src/bytes.ts"

  test("an exception covers its rule, path and names, no more", () => {
    expect(brief(violations(file, [exception("ambient", path)]))).toEqual([])
    expect(brief(violations(file, [exception("ambient", path, ["Date.now"])]))).toEqual(["ambient Math.random"])
    expect(brief(violations(file, [exception("ambient", "packages/*/src/")]))).toEqual([])
    expect(brief(violations(file, [exception("ambient", "packages/*/test/")])).length).toBe(2)
    expect(brief(violations(file, [exception("head", "packages/codec/")])).length).toBe(2)
  })

  test("an exception that excuses nothing is reported", () => {
    expect(brief(violations({}, [exception("ambient", path)]))).toEqual([`exception ${path}`])
  })

  test("a pattern covers whole names, and everything below a folder", () => {
    expect(covers("packages/*/bench/", "packages/codec/bench/a/b.ts")).toBe(true)
    expect(covers("packages/*/bench/", "packages/codec/benches/a.ts")).toBe(false)
    expect(covers("packages/*/bench/", "packages/codec/bench")).toBe(false)
    expect(covers("tools/a.ts", "tools/a.ts/b")).toBe(false)
  })

  test("every exception of this project gives a reason", () => {
    for (const { path, reason } of EXCEPTIONS) expect(reason, path).toMatch(/\w+ \w+ \w+/)
  })
})

test("a file that does not parse is reported", () => {
  expect(inCodec("const = 3")).toContain("parse packages/codec/src/bytes.ts")
})

test("reading a checkout leaves out what is installed", () => {
  const tree = readTree(new URL("../../../", import.meta.url).pathname)
  expect(tree.units.map((unit) => unit.folder)).toContain("packages/codec")
  expect([...tree.files.keys()].filter((path) => path.includes("node_modules"))).toEqual([])
})

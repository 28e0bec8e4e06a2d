/**
 * Goal: the examples of the packages' READMEs do what they say.
 * Method: run each in a process of its own, from a file in its package for as long as it runs, and compare what it prints
 * with its comments `// => ...`.
 */
import { spawnSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect, it } from "vitest"

const packages = join(import.meta.dirname, "..", "packages")

const examplesOf = (name: string): ReadonlyArray<string> => {
  const readme = join(packages, name, "README.md")
  if (!existsSync(readme)) return []
  return [...readFileSync(readme, "utf8").matchAll(/```ts\n([\s\S]*?)```/g)].map(([, example]) => example!)
}

const examples = readdirSync(packages).flatMap((name) =>
  examplesOf(name).map((example, i) => [`${name} ${i + 1}`, name, example] as const),
)

const run = (folder: string, example: string) => {
  const file = join(folder, `readme-example-${process.pid}.ts`)
  writeFileSync(file, example)
  try {
    return spawnSync(process.execPath, [file], { cwd: folder, encoding: "utf8" })
  } finally {
    rmSync(file)
  }
}

const promisesOf = (example: string): ReadonlyArray<string> =>
  [...example.matchAll(/\/\/ => (.*)/g)].map(([, promise]) => promise!)

it.each(examples)(
  "the example %s prints what its comments promise",
  (_which, name, example) => {
    const { stdout, stderr } = run(join(packages, name), example)
    expect(stderr).toBe("")
    expect(stdout.trimEnd().split("\n")).toEqual(promisesOf(example))
  },
  60_000,
)

it("every example promises something, and none is lost", () => {
  const promised = Object.fromEntries(examples.map(([which, , example]) => [which, promisesOf(example)]))
  const counted = Object.fromEntries(Object.entries(promised).map(([which, promises]) => [which, promises.length]))
  expect(counted).toEqual({
    "codec 1": 2,
    "consensus 1": 2,
    "crypto 1": 1,
    "laws 1": 1,
    "laws 2": 2,
    "merkle 1": 1,
    "node 1": 2,
    "qmdb 1": 6,
    "simulate 1": 1,
    "simulate 2": 3,
    "stateful 1": 2,
    "storage 1": 2,
    "verify 1": 2,
  })
  expect(promised["merkle 1"]).toEqual(["true"])
})

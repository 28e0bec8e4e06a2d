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

it.each(examples)(
  "the example %s prints what its comments promise",
  (_which, name, example) => {
    const promised = [...example.matchAll(/\/\/ => (.*)/g)].map((match) => match[1])
    const { stdout, stderr } = run(join(packages, name), example)
    expect(stderr).toBe("")
    expect(promised.length).toBeGreaterThan(0)
    expect(stdout.trimEnd().split("\n")).toEqual(promised)
  },
  60_000,
)

it("finds the examples", () => {
  const named = new Set(examples.map(([, name]) => name))
  expect([...named]).toEqual(
    expect.arrayContaining(["codec", "crypto", "merkle", "qmdb", "stateful", "simulate", "laws"]),
  )
})

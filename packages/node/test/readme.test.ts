/**
 * Goal: the example of the README does what it says.
 * Method: run it in a process of its own, from a file in the package for as long as it runs, and compare with its comments.
 */
import { spawnSync } from "node:child_process"
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"

test("the example of the README prints what its comments promise", () => {
  const folder = join(import.meta.dirname, "..")
  const example = /```ts\n([\s\S]*?)```/.exec(readFileSync(join(folder, "README.md"), "utf8"))![1]!
  const promised = [...example.matchAll(/\/\/ => (.*)/g)].map((match) => match[1])
  const file = join(folder, `readme-example-${process.pid}.ts`)
  writeFileSync(file, example)
  try {
    const { stdout, stderr } = spawnSync(process.execPath, [file], { cwd: folder, encoding: "utf8" })
    expect(stderr).toBe("")
    expect(promised.length).toBeGreaterThan(0)
    expect(stdout.trimEnd().split("\n")).toEqual(promised)
  } finally {
    rmSync(file)
  }
})

/**
 * Goal: the example of the README does what it says.
 * Method: run it in a process of its own, from the folder of the package, and compare with its comments.
 */
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"

test("the example of the README prints what its comments promise", () => {
  const folder = new URL("../", import.meta.url)
  const example = /```ts\n([\s\S]*?)```/.exec(readFileSync(new URL("README.md", folder), "utf8"))![1]!
  const promised = [...example.matchAll(/\/\/ => (.*)/g)].map((match) => match[1])
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module-typescript", "--eval", example], {
    cwd: fileURLToPath(folder),
    encoding: "utf8",
  })
  expect(stderr).toBe("")
  expect(promised.length).toBeGreaterThan(0)
  expect(stdout.trimEnd().split("\n")).toEqual(promised)
})
